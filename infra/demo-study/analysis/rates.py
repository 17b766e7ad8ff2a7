"""Admissions by age group and deprivation for one sex, with 95 % confidence intervals."""

import math
from collections import Counter

from study import age_group, arguments, read, write


def wilson(events, people):
    """The Wilson score interval of a proportion."""
    if not people:
        return 0.0, 0.0
    z, p = 1.96, events / people
    centre = p + z * z / (2 * people)
    spread = z * math.sqrt(p * (1 - p) / people + z * z / (4 * people * people))
    scale = 1 + z * z / people
    return max(0.0, (centre - spread) / scale), (centre + spread) / scale


options = arguments("--sex", "--output")

people, admitted = Counter(), Counter()
for patient in read("output/dataset.csv"):
    if patient["sex"] != options.sex:
        continue
    group = (age_group(int(patient["age"])), patient["imd_quintile"] or "unknown")
    people[group] += 1
    admitted[group] += patient["admitted"] == "T"

rows = []
for group in sorted(people):
    low, high = wilson(admitted[group], people[group])
    shares = (admitted[group] / people[group], low, high)
    counts = (people[group], admitted[group])
    rows.append((options.sex, *group, *counts, *(f"{share:.5f}" for share in shares)))
write(
    options.output,
    ("sex", "age_group", "imd_quintile", "people", "admitted", "rate", "low", "high"),
    rows,
)
print(f"{options.sex}: {sum(people.values())} people, {sum(admitted.values())} admitted")
