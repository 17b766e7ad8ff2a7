import pytest

from rap.models import JobDefinition, PrivacyLevel, Study
from rap.settings import AgentSettings
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
