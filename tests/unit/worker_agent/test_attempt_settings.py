import pytest

from rap.errors import ConfigurationError
from rap.models import JobDefinition, PrivacyLevel, Study
from rap.settings import AgentSettings, load
from worker_agent.jobs import attempt_of

pytestmark = pytest.mark.unit


@pytest.mark.spec("agent:166")
@pytest.mark.parametrize(
    ("text", "meaning"),
    [("Yes", True), ("true", True), ("1", True), ("false", False), ("foo", False), ("", False)],
)
def test_what_makes_a_backend_one_with_dummy_data(monkeypatch, text, meaning):
    monkeypatch.setenv("USING_DUMMY_DATA_BACKEND", text)
    assert AgentSettings().using_dummy_data_backend is meaning


@pytest.mark.spec("agent:14")
def test_a_job_definition_survives_the_way_through_json():
    definition = JobDefinition(
        id="j",
        rap_id="r",
        task_id="j-001",
        repo_url="https://github.com/opensafely/s",
        commit="c",
        study=Study(git_repo_url="https://github.com/opensafely/s", commit="c", branch="main"),
        workspace="w",
        action="a",
        created_at=1,
        image="ghcr.io/opensafely-core/python:v2",
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
def test_the_number_of_an_attempt_is_the_end_of_its_task_id(task_id, number):
    assert attempt_of(task_id) == number


@pytest.mark.parametrize(
    ("text", "images"),
    [("", ("ehrql", "sqlrunner")), ("*, -stata-mp", ("*", "-stata-mp")), ("none", ())],
)
def test_which_images_are_read_only_is_a_list_of_names(monkeypatch, text, images):
    monkeypatch.setenv("READ_ONLY_IMAGES", text)
    assert load(AgentSettings).read_only_images == images


def test_a_job_may_run_as_long_as_it_likes_unless_told_otherwise(monkeypatch):
    assert AgentSettings().job_run_time_limit == 0
    monkeypatch.setenv("JOB_RUN_TIME_LIMIT", "86400")
    assert AgentSettings().job_run_time_limit == 86400


@pytest.mark.parametrize("name", ["JOB_RUN_TIME_LIMIT", "CONTAINER_PIDS_LIMIT"])
def test_a_limit_that_is_none_names_its_setting(monkeypatch, name):
    monkeypatch.setenv(name, "-1")
    with pytest.raises(ConfigurationError, match=name):
        load(AgentSettings)
