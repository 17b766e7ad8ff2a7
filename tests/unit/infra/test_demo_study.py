"""The demo study is a valid project whose steps compute what they say, on the stand-in's data."""

import csv
import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from opensafely._vendor.pipeline import load_pipeline

from infra.images import ehrql_stand_in

pytestmark = pytest.mark.unit

STUDY = Path(__file__).parents[3] / "infra" / "demo-study"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all actions were run, in order, without containers."""
    folder = tmp_path_factory.mktemp("study")
    pipeline = load_pipeline((STUDY / "project.yaml").read_text())
    (folder / "analysis").symlink_to(STUDY / "analysis")
    programs = {
        "ehrql:v1": [sys.executable, ehrql_stand_in.__file__],
        "python:v2": ["env", "PYTHONDONTWRITEBYTECODE=1"],
    }
    for action in pipeline.actions.values():
        image, *words = shlex.split(action.run.raw)
        command = [*programs[image], *(sys.executable if w == "python" else w for w in words)]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_project_file_is_valid_and_has_two_parallel_steps_and_a_join() -> None:
    pipeline = load_pipeline((STUDY / "project.yaml").read_text())
    assert pipeline.version >= 5
    needs = {name: list(action.needs) for name, action in pipeline.actions.items()}
    assert needs["rates_women"] == needs["rates_men"] == ["generate_dataset"]
    assert needs["combine_rates"] == ["rates_women", "rates_men"]
    assert pipeline.actions["generate_dataset"].is_database_action


def test_every_declared_output_is_made(results: Path) -> None:
    pipeline = load_pipeline((STUDY / "project.yaml").read_text())
    for action in pipeline.actions.values():
        for outputs in action.outputs.dict().values():
            for pattern in (outputs or {}).values():
                assert (results / pattern).is_file()


def test_only_the_deliberate_mistake_would_be_kept_back_for_naming_patients(results: Path) -> None:
    assert "patient_id" in rows(results / "output/highest_risks.csv")[0]
    assert "patient_id" not in rows(results / "output/rates_table.csv")[0]


def test_rates_of_both_sexes_add_up_to_the_whole_dataset(results: Path) -> None:
    dataset = rows(results / "output/dataset.csv")
    rates = rows(results / "output/rates.csv")
    assert sum(int(row["people"]) for row in rates) == len(dataset) == 5000
    admitted = sum(row["admitted"] == "T" for row in dataset)
    assert sum(int(row["admitted"]) for row in rates) == admitted > 100


def test_table_for_release_shows_no_small_or_exact_counts(results: Path) -> None:
    for row in rows(results / "output/rates_table.csv"):
        for count in (row["people"], row["admitted"]):
            assert count == "[few]" or (int(count) > 7 and int(count) % 5 == 0)


def test_model_finds_the_risks_that_the_invented_patients_have(results: Path) -> None:
    ratios = json.loads((results / "output/model.json").read_text())["odds_ratios"]
    assert ratios["age_per_10_years"]["low"] > 1
    assert ratios["diabetes"]["low"] > 1
    assert ratios["imd_quintile"]["high"] < 1


def test_same_definition_always_gives_the_same_patients() -> None:
    assert ehrql_stand_in.make_dataset(["age", "sex"], 50) == ehrql_stand_in.make_dataset(
        ["age", "sex"], 50
    )


def test_stand_in_writes_the_columns_of_the_definition_in_order() -> None:
    columns, population = ehrql_stand_in.columns_of(
        "dataset.configure_dummy_data(population_size=12)\ndataset.sex = 1\ndataset.age = 2\n"
    )
    assert (columns, population) == (["sex", "age"], 12)
    assert ehrql_stand_in.make_dataset(columns, 1).splitlines()[0] == "patient_id,sex,age"


def test_stand_in_refuses_what_it_cannot_do_with_a_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as refused:
        ehrql_stand_in.main(["generate-measures", "analysis/measures.py"])
    assert refused.value.code == 2
    assert "generate-dataset only, not generate-measures" in capsys.readouterr().err
