"""The patients with the highest risks. Not fit for release, whatever project.yaml says."""

import argparse

from study import read, write

parser = argparse.ArgumentParser()
parser.add_argument("input")
parser.add_argument("--output", required=True)
options = parser.parse_args()

ranked = sorted(read(options.input), key=lambda row: float(row["risk"]), reverse=True)
write(
    options.output,
    ("patient_id", "risk"),
    ((row["patient_id"], row["risk"]) for row in ranked[:20]),
)
