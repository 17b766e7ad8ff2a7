from typing import Any

import pytest

from rap.errors import ConfigurationError
from rap.ids import attempt_of
from rap.models import JobDefinition, PrivacyLevel
from rap.settings import AgentSettings, load
from tests.support.factories import job_definition

pytestmark = pytest.mark.unit


@pytest.mark.spec("agent:166")
@pytest.mark.parametrize(
    ("text", "meaning"),
    [("Yes", True), ("true", True), ("1", True), ("false", False), ("foo", False), ("", False)],
)
def test_what_makes_a_backend_one_with_dummy_data(
    monkeypatch: pytest.MonkeyPatch, text: str, meaning: bool
) -> None:
    monkeypatch.setenv("USING_DUMMY_DATA_BACKEND", text)
    assert AgentSettings().using_dummy_data_backend is meaning


@pytest.mark.spec("agent:14")
def test_a_job_definition_survives_the_way_through_json() -> None:
    definition = job_definition(
        args=("analysis.py", "--x=y z"),
        env={"A": "b=c"},
        output_spec={"output/*.csv": PrivacyLevel.HIGHLY_SENSITIVE},
        cpu_count=1.5,
        memory_limit="4G",
        user="someone",
    )
    assert JobDefinition.model_validate_json(definition.model_dump_json()) == definition


@pytest.mark.parametrize(
    ("task_id", "number"), [("j-001", 1), ("j-012", 12), ("j-1000", 1000), ("", 1), ("j-x", 1)]
)
def test_the_number_of_an_attempt_is_the_end_of_its_task_id(task_id: str, number: int) -> None:
    assert attempt_of(task_id) == number


@pytest.mark.parametrize(
    ("text", "images"),
    [("", ("ehrql", "sqlrunner")), ("*, -stata-mp", ("*", "-stata-mp")), ("none", ())],
)
def test_which_images_are_read_only_is_a_list_of_names(
    monkeypatch: pytest.MonkeyPatch, text: str, images: tuple[Any, ...]
) -> None:
    monkeypatch.setenv("READ_ONLY_IMAGES", text)
    assert load(AgentSettings).read_only_images == images


def test_a_job_may_run_as_long_as_it_likes_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert AgentSettings().job_run_time_limit == 0
    monkeypatch.setenv("JOB_RUN_TIME_LIMIT", "86400")
    assert AgentSettings().job_run_time_limit == 86400


@pytest.mark.parametrize("name", ["JOB_RUN_TIME_LIMIT", "CONTAINER_PIDS_LIMIT"])
def test_a_limit_that_is_none_names_its_setting(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "-1")
    with pytest.raises(ConfigurationError, match=name):
        load(AgentSettings)
