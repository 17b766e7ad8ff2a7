"""Joins the rates of both sexes, and adds the age-standardised rate of each quintile."""

import argparse
from collections import Counter, defaultdict

from study import read, write

parser = argparse.ArgumentParser()
parser.add_argument("inputs", nargs="+")
parser.add_argument("--output", required=True)
options = parser.parse_args()

rows = [row for path in options.inputs for row in read(path)]
weights = Counter()
for row in rows:
    weights[row["age_group"]] += int(row["people"])
total = sum(weights.values())

parts = defaultdict(lambda: defaultdict(lambda: [0, 0]))
for row in rows:
    cell = parts[row["sex"], row["imd_quintile"]][row["age_group"]]
    cell[0] += int(row["people"])
    cell[1] += int(row["admitted"])
standardised = {
    key: sum(weights[age] / total * (events / people) for age, (people, events) in ages.items())
    for key, ages in parts.items()
}

columns = [*(rows[0] if rows else ()), "standardised_rate"]
write(
    options.output,
    columns,
    (
        [*row.values(), f"{standardised[row['sex'], row['imd_quintile']]:.5f}"]
        for row in sorted(rows, key=lambda row: (row["age_group"], row["imd_quintile"], row["sex"]))
    ),
)
