"""How much of a backend a job takes: docs/spec/controller.md 9.4."""

import os
from pathlib import Path

import pytest

from activities.controller.weight_files import WeightFiles, read_weights
from rap.errors import ConfigurationError
from rap.models import JobSpec, Weights
from tests.support.factories import job_spec
from workflows.job.weight import weigh, weight_of

pytestmark = pytest.mark.unit

FILE = r"""
[my-workspace]
some_action = 2.5
pattern[\d]+ = 4
Upper\S+ = 3

[default]
stata-mp:.* = 2
.*--big = 1.5
"""


def job(action: str, workspace: str = "my-workspace", command: str = "python:v2 a.py") -> JobSpec:
    return job_spec(action, workspace=workspace, run_command=command)


def written(folder: Path, text: str, backend: str = "test") -> Path:
    path = folder / f"job-resource-weights_{backend}.ini"
    path.write_text(text)
    return path


@pytest.mark.spec("controller:90", "controller:91")
@pytest.mark.parametrize(
    ("action", "workspace", "command", "weight"),
    [
        ("some_action", "my-workspace", "python:v2 a.py", 2.5),
        ("pattern315", "my-workspace", "python:v2 a.py", 4),
        ("pattern000no_match", "my-workspace", "python:v2 a.py", 1),
        ("some_action", "my-workspace", "stata-mp:v1 a.do", 2.5),
        ("other", "my-workspace", "stata-mp:v1 a.do", 2),
        ("some_action", "other", "stata-mp:v1 a.do", 2),
        ("some_action", "other", "python:v2 a.py --big", 1.5),
        ("some_action", "other", "python:v2 a.py --bigger", 1),
        ("UpperCase", "my-workspace", "python:v2 a.py", 3),
        ("Upper case", "my-workspace", "python:v2 a.py", 1),
    ],
)
def test_the_first_rule_of_the_workspace_then_of_the_default_that_matches_the_whole_decides(
    tmp_path: Path, action: str, workspace: str, command: str, weight: float
) -> None:
    weights = read_weights(written(tmp_path, FILE))
    assert weight_of(job(action, workspace, command), weights) == weight
    assert weigh([job(action, workspace, command)], weights)[0].weight == weight


@pytest.mark.spec("controller:90")
def test_the_file_of_another_backend_is_never_used(tmp_path: Path) -> None:
    written(tmp_path, FILE, backend="tpp")
    files = WeightFiles(tmp_path)
    assert files.of_backend("test") == Weights()
    assert files.of_backend("tpp") != Weights()


def test_a_section_in_capitals_is_a_workspace_and_not_merged_into_all_others(
    tmp_path: Path,
) -> None:
    weights = read_weights(written(tmp_path, "[DEFAULT]\n.* = 9\n[w]\nb = 2\n"))
    assert weight_of(job("a", "w"), weights) == 1
    assert weight_of(job("a", "DEFAULT"), weights) == 9


def test_only_an_equals_sign_separates_so_that_commands_with_colons_are_keys(
    tmp_path: Path,
) -> None:
    weights = read_weights(written(tmp_path, "[default]\npython:v2 a.py = 2\n"))
    assert weight_of(job("a"), weights) == 2


def test_a_changed_file_is_read_again_and_a_removed_one_forgotten(tmp_path: Path) -> None:
    files = WeightFiles(tmp_path)
    assert files.of_backend("test") == Weights()
    path = written(tmp_path, "[w]\na = 2\n")
    assert weight_of(job("a", "w"), files.of_backend("test")) == 2
    path.write_text("[w]\na = 37\n")
    assert weight_of(job("a", "w"), files.of_backend("test")) == 37
    path.unlink()
    assert files.of_backend("test") == Weights()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[w]\na = heavy\n", r"\[w\]: the weight of a must be a number above 0, not 'heavy'"),
        ("[w]\na = 0\n", "must be a number above 0"),
        ("[w]\na = nan\n", "must be a number above 0"),
        ("[w]\na( = 2\n", r"\[w\]: a\( is not a pattern"),
        ("a = 2\n", "cannot be read"),
        ("[w]\nno number\n", "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_and_the_weights_stay_as_they_were(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, says: str
) -> None:
    files = WeightFiles(tmp_path)
    path = written(tmp_path, "[w]\na = 2\n")
    before = files.of_backend("test")
    path.write_text(text)
    os.utime(path, (1, 1))
    with pytest.raises(ConfigurationError, match=says):
        read_weights(path)
    assert files.of_backend("test") == before
    assert weight_of(job("a", "w"), before) == 2
