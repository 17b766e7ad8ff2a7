"""Identifiers and status codes: docs/spec/controller.md 1 and 3."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap import ids
from rap.egress import Fault, Stage
from rap.safe_names import safe_name
from rap.sentences import CODE_SENTENCES, FAULT_SENTENCES
from rap.status import State, StatusCode, version

pytestmark = pytest.mark.unit


@pytest.mark.spec("controller:1", "rap-api:93")
@pytest.mark.parametrize(
    ("rap_id", "action", "expected"),
    [
        ("abc", "def", "nidrhh6y2fk57dsu"),
        ("a1b2c3d4e5f6g7h8", "generate_dataset", "kmpzdmnuqrsftzu7"),
        ("a1b2c3d4e5f6g7h8", "run_all", "on3akxxkso4zut4m"),
        ("aaaaaaaaaaaaaaa1", "analyse", "cv6lbkarugdiuwus"),
        ("aaaaaaaaaaaaaaa3", "standalone", "wwurqo2isn52b5s4"),
    ],
)
def test_job_ids_follow_the_formula(rap_id: str, action: str, expected: str) -> None:
    assert ids.job_id(rap_id, action) == expected


@given(rap_id=st.text(), action=st.text())
def test_job_ids_are_base_32_of_a_digest(rap_id: str, action: str) -> None:
    digest = hashlib.sha1(f"{rap_id}\n{action}".encode(), usedforsecurity=False).digest()[:10]
    assert ids.job_id(rap_id, action) == base64.b32encode(digest).decode().lower()


@pytest.mark.spec("controller:2")
def test_another_rap_gives_another_job_id() -> None:
    assert ids.job_id("a", "x") == ids.job_id("a", "x")
    assert ids.job_id("a", "x") != ids.job_id("b", "x")


@pytest.mark.spec("controller:3")
def test_task_ids_count_the_attempts() -> None:
    assert (ids.task_id("j", 1), ids.task_id("j", 2)) == ("j-001", "j-002")


def test_the_ids_of_workflows_say_what_they_are() -> None:
    assert ids.rap_workflow_id("asthma-care", "r1") == "rap/asthma-care/r1"
    assert ids.job_workflow_id("asthma-care", "fit_model", "j1") == "job/asthma-care/fit_model/j1"
    assert ids.rap_of_workflow("rap/asthma-care/r1") == "r1"


@given(workspace=st.text(), action=st.text())
def test_a_name_of_any_kind_gives_an_id_that_temporal_takes(workspace: str, action: str) -> None:
    made = ids.job_workflow_id(workspace * 50, action * 50, "j" * 16)
    assert len(made.encode()) < 500
    assert made.isprintable()
    assert len(made.split("/")) == 4


@given(workspace=st.text(), action=st.text())
def test_safe_names_give_the_same_id_as_the_names(workspace: str, action: str) -> None:
    safe = safe_name(workspace), safe_name(action)
    assert ids.job_workflow_id(*safe, "j") == ids.job_workflow_id(workspace, action, "j")


@pytest.mark.spec("controller:6")
@pytest.mark.parametrize(
    ("text", "slug"),
    [
        ("string_______string-------string string", "string-string-string-string"),
        ("string!@#$%^&**()", "string"),
        ("__string__", "string"),
        ("neko猫", "neko"),
    ],
)
def test_slugify(text: str, slug: str) -> None:
    assert ids.slugify(text) == slug


def test_random_rap_ids_fit_the_pattern_of_the_api() -> None:
    assert len(ids.random_rap_id()) == 16
    assert ids.random_rap_id().isalnum()


@pytest.mark.spec("agent:155")
@given(st.text(alphabet="osjb-abc123", min_size=1))
def test_job_of_container_gives_back_any_id(job: str) -> None:
    assert ids.job_of_container(ids.container_name(job)) == job


def test_a_container_of_another_name_is_no_job() -> None:
    assert ids.job_of_container("postgres") is None


def test_every_code_has_a_state_and_a_sentence() -> None:
    for code in StatusCode:
        assert CODE_SENTENCES[code]
        assert code.is_final == (not code.state.is_active)
    assert StatusCode.SUCCEEDED.state is State.SUCCEEDED
    assert StatusCode.INITIATED.state is State.RUNNING


def test_every_stage_is_a_status_code_and_every_fault_has_a_sentence() -> None:
    assert {StatusCode(stage.value).state for stage in Stage} == {State.RUNNING}
    assert set(FAULT_SENTENCES) == set(Fault)


def test_versions_rise_along_the_life_of_a_job() -> None:
    life = [
        (1, StatusCode.CREATED),
        (1, StatusCode.WAITING_ON_DEPENDENCIES),
        (1, StatusCode.WAITING_ON_WORKERS),
        (1, StatusCode.INITIATED),
        (1, StatusCode.EXECUTING),
        (2, StatusCode.WAITING_ON_REBOOT),
        (2, StatusCode.INITIATED),
        (2, StatusCode.FINALIZING),
        (2, StatusCode.SUCCEEDED),
    ]
    versions = [version(attempt, code) for attempt, code in life]
    assert versions == sorted(set(versions))


def test_a_maintenance_window_is_known_by_its_backend_and_its_name() -> None:
    assert ids.window_id("tpp", "nightly") == "window/tpp/nightly"


def test_the_readable_name_of_a_job_is_fit_for_a_command_line() -> None:
    assert ids.job_slug("My workspace", "make_table (1)", "abc") == "my-workspace-make-table-1-abc"
