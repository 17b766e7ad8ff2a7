"""The patients with the highest risks. Not fit for release, whatever project.yaml says."""

from study import arguments, read, write

options = arguments("input", "--output")

ranked = sorted(read(options.input), key=lambda row: float(row["risk"]), reverse=True)
write(
    options.output,
    ("patient_id", "risk"),
    ((row["patient_id"], row["risk"]) for row in ranked[:20]),
)
