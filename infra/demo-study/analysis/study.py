"""What the steps of this study share."""

import csv
from pathlib import Path

AGE_GROUPS = ((18, 39), (40, 49), (50, 59), (60, 69), (70, 79), (80, 100))
FEW = 7  # counts up to this are never shown
NEAREST = 5  # shown counts are rounded to a multiple of this


def age_group(age):
    for low, high in AGE_GROUPS:
        if low <= age <= high:
            return f"{low}-{high}"
    return "other"


def read(path):
    with open(path, newline="") as file:
        yield from csv.DictReader(file)


def write(path, columns, rows):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
    print(f"wrote {path}: {len(rows)} rows")
