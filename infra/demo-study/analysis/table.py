"""The table for release: by sex and age group; counts rounded, small ones left out."""

import argparse
from collections import defaultdict

from study import FEW, NEAREST, read, write


def shown(count):
    return "[few]" if count <= FEW else NEAREST * round(count / NEAREST)


parser = argparse.ArgumentParser()
parser.add_argument("input")
parser.add_argument("--output", required=True)
options = parser.parse_args()

groups = defaultdict(lambda: [0, 0])
for row in read(options.input):
    group = groups[row["sex"], row["age_group"]]
    group[0] += int(row["people"])
    group[1] += int(row["admitted"])

rows = []
for (sex, age), (people, admitted) in sorted(groups.items()):
    people, admitted = shown(people), shown(admitted)
    hidden = "[few]" in (people, admitted)
    rows.append((sex, age, people, admitted, "" if hidden else f"{1000 * admitted / people:.0f}"))
write(options.output, ("sex", "age_group", "people", "admitted", "admitted_per_1000"), rows)
