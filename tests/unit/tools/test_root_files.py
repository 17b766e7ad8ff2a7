"""The files at the root name what there is: settings, checks, scripts."""

import re
from pathlib import Path

import pytest

from rap.settings import AgentSettings, ApiSettings, ControllerSettings, RecordsSettings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]
OF_TEMPORAL = {"TEMPORAL_ADDRESS"}
OF_A_BACKEND = {"TEST_CLIENT_TOKENS", "TEST_MAX_WORKERS"}


def test_every_variable_of_the_sample_is_a_setting_and_given_once() -> None:
    names = re.findall(r"^(\w+)=", (ROOT / "dotenv-sample").read_text(), re.MULTILINE)
    kinds = (AgentSettings, ApiSettings, ControllerSettings, RecordsSettings)
    settings = {name.upper() for kind in kinds for name in kind.model_fields}
    assert set(names) - settings == OF_TEMPORAL | OF_A_BACKEND
    assert len(names) == len(set(names))


def test_what_is_checked_before_a_commit_is_what_scripts_check_checks() -> None:
    checks = re.findall(
        r"^run (.*?)(?: --.*)?$", (ROOT / "scripts/check").read_text(), re.MULTILINE
    )
    hooks = (ROOT / ".pre-commit-config.yaml").read_text()
    ran = re.findall(r"entry: \.venv/bin/(.*?)(?: --.*)?$", hooks, re.MULTILINE)
    assert ran == checks


def test_every_recipe_calls_a_script_that_exists() -> None:
    called = re.findall(r"\b(?:scripts|bench)/[a-z-]+", (ROOT / "justfile").read_text())
    assert called
    assert [name for name in called if not (ROOT / name).is_file()] == []


def test_what_contributors_are_pointed_to_is_there() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:\.?[\w-]+/)+[\w.-]*|[\w-]+\.(?:toml|lock|md|py))`", text)
    missing = [path for path in paths if not (ROOT / path).exists()]
    # Named within the folder that stands before them.
    settings = {path.name for path in (ROOT / "rap/settings").iterdir()}
    assert set(missing) - settings - {"workflow.py"} == set()
    recipes = re.findall(r"^([a-z-]+)[^:=\n]*:", (ROOT / "justfile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`just ([a-z-]+)", text)) <= set(recipes)
