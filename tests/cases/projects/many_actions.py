"""Print a project file of as many actions as large studies have."""

import sys

COUNT = int(sys.argv[1])
COVARIATES = ";".join(f"cov_bin_{number}" for number in range(18))


def name(number: int) -> str:
    return f"model_{number:04d}-cohort_prevax-main-outcome_{number % 37}"


print(
    """version: "3.0"
expectations: {population_size: 1000}
actions:
  generate_dataset:
    run: >-
      ehrql:v1 generate-dataset analysis/dataset_definition.py
      --output output/dataset.csv.gz
    outputs: {highly_sensitive: {cohort: output/dataset.csv.gz}}"""
)
for number in range(1, COUNT):
    print(
        f"  {name(number)}:\n"
        f"    run: python:v2 python analysis/model.py --name {name(number)}"
        f" --ageatstart median --covariates {COVARIATES}\n"
        f"    needs: [{'generate_dataset' if number < 50 else name(number - 49)}]\n"
        f"    outputs: {{moderately_sensitive: {{model: output/model/{name(number)}.csv}}}}"
    )
