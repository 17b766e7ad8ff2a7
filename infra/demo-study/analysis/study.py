"""What the steps of this study share."""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

AGE_GROUPS = ((18, 39), (40, 49), (50, 59), (60, 69), (70, 79), (80, 100))
FEW = 7  # counts up to this are never shown
NEAREST = 5  # shown counts are rounded to a multiple of this


def arguments(*names):
    """The arguments that the step was started with, all of them required."""
    parser = argparse.ArgumentParser()
    for name in names:
        parser.add_argument(name, **({"required": True} if name.startswith("--") else {}))
    return parser.parse_args()


def age_group(age):
    for low, high in AGE_GROUPS:
        if low <= age <= high:
            return f"{low}-{high}"
    return "other"


def read(path):
    with open(path, newline="") as file:
        yield from csv.DictReader(file)


def add_up(rows, *columns):
    """People and admitted people by the values of the columns."""
    groups = defaultdict(lambda: (0, 0))
    for row in rows:
        key = tuple(row[column] for column in columns)
        people, admitted = groups[key]
        groups[key] = (people + int(row["people"]), admitted + int(row["admitted"]))
    return groups


def write(path, columns, rows):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    print(f"wrote {path}: {len(rows)} rows")
