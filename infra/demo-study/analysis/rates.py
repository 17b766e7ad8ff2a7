"""Admissions by age group and deprivation for one sex, with 95 % confidence intervals."""

import argparse
import math
from collections import Counter

from study import age_group, read, write


def wilson(events, people):
    """The Wilson score interval of a proportion."""
    if not people:
        return 0.0, 0.0
    z, p = 1.96, events / people
    centre = p + z * z / (2 * people)
    spread = z * math.sqrt(p * (1 - p) / people + z * z / (4 * people * people))
    scale = 1 + z * z / people
    return max(0.0, (centre - spread) / scale), (centre + spread) / scale


parser = argparse.ArgumentParser()
parser.add_argument("--sex", required=True)
parser.add_argument("--output", required=True)
options = parser.parse_args()

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
    rate = admitted[group] / people[group]
    rows.append(
        (
            options.sex,
            *group,
            people[group],
            admitted[group],
            f"{rate:.5f}",
            f"{low:.5f}",
            f"{high:.5f}",
        )
    )
write(
    options.output,
    ("sex", "age_group", "imd_quintile", "people", "admitted", "rate", "low", "high"),
    rows,
)
print(f"{options.sex}: {sum(people.values())} people, {sum(admitted.values())} admitted")
