"""Stands in for ehrQL where its image cannot be had: makes patients up, asks no database.

It reads which columns a dataset definition sets, and writes a file of invented patients with those
columns. The same definition always gives the same file. It runs inside a container, with nothing
but the standard library, as ``generate-dataset DEFINITION --output FILE``.
"""

import argparse
import ast
import csv
import gzip
import io
import math
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

DEFAULT_POPULATION = 4000
SEED = 20260401
REGIONS = (
    "East",
    "East Midlands",
    "London",
    "North East",
    "North West",
    "South East",
    "South West",
    "West Midlands",
    "Yorkshire and The Humber",
)

Patient = dict[str, object]


def columns_of(definition: str) -> tuple[list[str], int]:
    """The columns that a dataset definition sets, in order, and the population it asks for.

    Raises:
        SyntaxError: it is not Python.
    """
    columns: list[str] = []
    population = DEFAULT_POPULATION
    for node in ast.walk(ast.parse(definition)):
        match node:
            case ast.Assign(targets=[ast.Attribute(value=ast.Name(id="dataset"), attr=column)]):
                if column not in columns:
                    columns.append(column)
            case ast.keyword(arg="population_size", value=value):
                population = int(ast.literal_eval(value))
    return columns, population


def make_patient(number: int, dice: random.Random) -> Patient:
    """One invented patient, whose risks depend on each other as they might in life."""
    sex = dice.choice(("female", "male"))
    age = min(100, max(18, round(dice.gauss(52, 19))))
    imd = dice.randint(1, 5)
    smoker = dice.random() < 0.10 + 0.03 * (5 - imd)
    bmi = round(dice.gauss(27.2 + (0.5 if smoker else 0), 4.8), 1)
    diabetes = dice.random() < logistic(-4.6 + 0.035 * age + 0.09 * (bmi - 27))
    pressure = round(dice.gauss(108 + 0.42 * age + 0.5 * (bmi - 27), 11))
    risk = -4.6 + 0.042 * age + 0.8 * diabetes + 0.55 * smoker - 0.14 * imd
    risk += 0.25 * (sex == "male") + 0.012 * (pressure - 130)
    admitted = dice.random() < logistic(risk)
    died = dice.random() < logistic(-9.5 + 0.085 * age + 0.9 * admitted)
    return {
        "patient_id": number,
        "age": age,
        "sex": sex,
        "region": dice.choice(REGIONS),
        "imd_quintile": imd,
        "bmi": bmi,
        "smoker": smoker,
        "has_diabetes": diabetes,
        "systolic_bp": pressure if dice.random() > 0.05 else None,
        "admitted": admitted,
        "died": died,
    }


def logistic(value: float) -> float:
    """The probability that belongs to a log-odds."""
    return 1 / (1 + math.exp(-value))


def generator_of(column: str) -> Callable[[Patient, random.Random], object]:
    """How the values of a column are found: known ones from the patient, others by dice."""
    if column.startswith(("has_", "is_", "was_")):
        return lambda patient, dice: patient.get(column, dice.random() < 0.2)
    if column.endswith("date"):
        return lambda _, dice: f"20{dice.randint(15, 23)}-{dice.randint(1, 12):02d}-01"
    return lambda patient, dice: patient.get(column, dice.randint(0, 100))


def as_text(value: object) -> object:
    """A value as ehrQL writes it into a CSV file."""
    if value is None:
        return ""
    return {True: "T", False: "F"}[value] if isinstance(value, bool) else value


def make_dataset(columns: list[str], population: int) -> str:
    """The CSV file of ``population`` patients."""
    dice = random.Random(SEED)  # noqa: S311  the same patients each time
    makers = [generator_of(column) for column in columns]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["patient_id", *columns])
    for number in range(1, population + 1):
        patient = make_patient(number, dice)
        writer.writerow([number, *(as_text(make(patient, dice)) for make in makers)])
    return text.getvalue()


def main(arguments: list[str] | None = None) -> None:
    """Carry out ``generate-dataset``; end with 2, as ehrQL does, for bad arguments."""
    parser = argparse.ArgumentParser(prog="ehrql")
    parser.add_argument("command")
    parser.add_argument("definition", type=Path, nargs="?")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--dummy-data-file", type=Path)
    options, _ = parser.parse_known_args(arguments)
    if options.command != "generate-dataset":
        parser.error(f"This stand-in for ehrQL knows generate-dataset only, not {options.command}.")
    if options.definition is None or options.output is None:
        parser.error("generate-dataset needs a dataset definition and --output FILE.")
    if not options.definition.is_file():
        parser.error(f"There is no dataset definition {options.definition}.")
    name = options.output.name
    if not name.endswith((".csv", ".csv.gz")):
        parser.error(f"This stand-in for ehrQL writes .csv and .csv.gz files, not {name}.")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.write("This is a stand-in for ehrQL: the patients are invented.\n")
    if options.dummy_data_file:
        shutil.copyfile(options.dummy_data_file, options.output)
        return
    try:
        columns, population = columns_of(options.definition.read_text())
    except SyntaxError as error:
        parser.error(f"{options.definition} is not valid Python: {error}")
    data = make_dataset(columns, population).encode()
    options.output.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    sys.stdout.write(f"Wrote {population} patients with {len(columns)} columns.\n")


if __name__ == "__main__":
    main()
