"""Joins the rates of both sexes, and adds the age-standardised rate of each quintile."""

from collections import Counter

from study import add_up, arguments, read, write

options = arguments("first", "second", "--output")

rows = [*read(options.first), *read(options.second)]
weights = {age: people for (age,), (people, _) in add_up(rows, "age_group").items()}
total = sum(weights.values())
standardised = Counter()
for (*key, age), (people, admitted) in add_up(rows, "sex", "imd_quintile", "age_group").items():
    standardised[tuple(key)] += weights[age] / total * (admitted / people)

columns = [*(rows[0] if rows else ()), "standardised_rate"]
write(
    options.output,
    columns,
    (
        [*row.values(), f"{standardised[row['sex'], row['imd_quintile']]:.5f}"]
        for row in sorted(rows, key=lambda row: (row["age_group"], row["imd_quintile"], row["sex"]))
    ),
)
