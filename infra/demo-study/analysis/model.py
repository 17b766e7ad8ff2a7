"""A logistic regression of admission, fitted by Newton's method; and each patient's risk."""

import json
import math
from pathlib import Path

from study import arguments, read, write

NAMES = (
    "intercept",
    "age_per_10_years",
    "male",
    "imd_quintile",
    "diabetes",
    "pressure_per_10_mmhg",
)
STEPS = 25


def features(patient, mean_pressure):
    pressure = float(patient["systolic_bp"] or mean_pressure)
    return (
        1.0,
        (int(patient["age"]) - 50) / 10,
        float(patient["sex"] == "male"),
        float(patient["imd_quintile"] or 3) - 3,
        float(patient["has_diabetes"] == "T"),
        (pressure - 130) / 10,
    )


def risk(weights, row):
    score = sum(weight * value for weight, value in zip(weights, row))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, score))))


def inverse(matrix):
    """By Gauss-Jordan elimination with pivoting."""
    size = len(matrix)
    work = [[*row, *(float(i == j) for j in range(size))] for i, row in enumerate(matrix)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(work[row][column]))
        work[column], work[pivot] = work[pivot], work[column]
        scale = work[column][column]
        work[column] = [value / scale for value in work[column]]
        for row in range(size):
            if row != column:
                factor = work[row][column]
                work[row] = [a - factor * b for a, b in zip(work[row], work[column])]
    return [row[size:] for row in work]


def fit(rows, outcomes):
    """The weights that explain the outcomes best, and the variance of each."""
    size = len(NAMES)
    weights = [0.0] * size
    for step in range(STEPS):
        slope = [0.0] * size
        # A little ridge keeps the matrix invertible when a value never varies.
        bend = [[1e-3 * (i == j) for j in range(size)] for i in range(size)]
        for row, outcome in zip(rows, outcomes):
            p = risk(weights, row)
            spread = p * (1 - p)
            for i, value in enumerate(row):
                slope[i] += (outcome - p) * value
                for j in range(i + 1):
                    bend[i][j] += spread * value * row[j]
        for i in range(size):
            for j in range(i + 1, size):
                bend[i][j] = bend[j][i]
        covariance = inverse(bend)
        change = [sum(a * b for a, b in zip(line, slope)) for line in covariance]
        weights = [weight + by for weight, by in zip(weights, change)]
        if max(map(abs, change)) < 1e-6:
            print(f"converged after {step + 1} steps")
            break
    return weights, [covariance[i][i] for i in range(size)]


options = arguments("input", "--model", "--predictions")

patients = list(read(options.input))
pressures = [float(p["systolic_bp"]) for p in patients if p["systolic_bp"]]
mean_pressure = sum(pressures) / len(pressures) if pressures else 130.0
rows = [features(patient, mean_pressure) for patient in patients]
outcomes = [float(patient["admitted"] == "T") for patient in patients]
weights, variances = fit(rows, outcomes)
risks = [risk(weights, row) for row in rows]

ratios = {}
for name, weight, variance in zip(NAMES, weights, variances):
    error = 1.96 * math.sqrt(max(variance, 0))
    ratios[name] = {
        "odds_ratio": round(math.exp(weight), 3),
        "low": round(math.exp(weight - error), 3),
        "high": round(math.exp(weight + error), 3),
    }
    print(
        f"{name:22} {ratios[name]['odds_ratio']:7.3f} ({ratios[name]['low']}-{ratios[name]['high']})"
    )
brier = sum((p - outcome) ** 2 for p, outcome in zip(risks, outcomes)) / len(risks)
Path(options.model).write_text(
    json.dumps({"odds_ratios": ratios, "brier_score": round(brier, 4)}, indent=2) + "\n"
)
write(
    options.predictions,
    ("patient_id", "risk"),
    ((patient["patient_id"], f"{p:.4f}") for patient, p in zip(patients, risks)),
)
