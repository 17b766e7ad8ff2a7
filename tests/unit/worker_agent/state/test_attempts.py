import stat
from pathlib import Path

import pytest

from rap.errors import JobFault
from rap.models import JobDefinition
from tests.support.factories import job_definition
from worker_agent.state.attempts import KEEP_STOPPED, AttemptState, key_of

pytestmark = pytest.mark.unit


def definition(task_id: str = "j-001") -> JobDefinition:
    return job_definition(id="j", task_id=task_id)


def test_a_stop_is_remembered_by_the_next_agent_for_that_attempt_only(tmp_path: Path) -> None:
    AttemptState(tmp_path).mark_stopped("j-001")
    attempts = AttemptState(tmp_path)
    assert attempts.is_stopped("j-001")
    assert not attempts.is_stopped("j-002")
    attempts.forget_stopped("j-001")
    attempts.forget_stopped("j-001")
    assert not attempts.is_stopped("j-001")


def test_who_stops_an_attempt_is_remembered_whichever_comes_first(tmp_path: Path) -> None:
    attempts = AttemptState(tmp_path)
    attempts.mark_killed("j-001")
    attempts.mark_stopped("j-001")
    attempts.mark_stopped("j-002")
    assert AttemptState(tmp_path).is_killed("j-001")
    assert AttemptState(tmp_path).is_stopped("j-001")
    assert not AttemptState(tmp_path).is_killed("j-002")
    attempts.forget_stopped("j-001")
    assert not attempts.is_killed("j-001")
    assert not attempts.is_stopped("j-001")


def test_only_old_orders_about_attempts_that_never_came_are_forgotten(tmp_path: Path) -> None:
    attempts = AttemptState(tmp_path)
    attempts.mark_stopped("j-001")
    written = (tmp_path / "stopped" / "j-001").stat().st_mtime
    attempts.forget_old_stopped(written + KEEP_STOPPED - 1)
    assert attempts.is_stopped("j-001")
    attempts.forget_old_stopped(written + KEEP_STOPPED + 1)
    assert not attempts.is_stopped("j-001")


def test_task_tokens_are_kept_for_the_next_agent_and_for_nobody_else(tmp_path: Path) -> None:
    AttemptState(tmp_path).keep_token("j-001", b"\x00token")
    path = tmp_path / "tokens" / "j-001"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert AttemptState(tmp_path).left_over_tokens() == {"j-001": b"\x00token"}
    AttemptState(tmp_path).drop_token("j-001")
    assert AttemptState(tmp_path).left_over_tokens() == {}


def test_the_first_moment_of_an_attempt_is_kept_and_a_new_attempt_has_its_own(
    tmp_path: Path,
) -> None:
    attempts = AttemptState(tmp_path)
    first = attempts.take(definition())
    assert AttemptState(tmp_path).take(definition()) == first
    second = attempts.take(definition("j-002"))
    assert second.task_id == "j-002"
    assert (attempts.owner("j"), attempts.owner("j-002")) == (first, second)
    assert attempts.earlier(definition("j-003")) == ["j", "j-002"]
    assert attempts.earlier(definition()) == []
    attempts.leave("j")
    assert attempts.earlier(definition("j-002")) == []
    assert attempts.owner("j") is None


@pytest.mark.parametrize("key", ["../escape", "a/b", "", ".hidden"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(JobFault):
        AttemptState(tmp_path).mark_stopped(key)
    assert list((tmp_path / "stopped").iterdir()) == []


def test_a_definition_without_task_id_has_the_key_of_its_job() -> None:
    assert key_of("j", "") == "j"
    assert key_of("j", "j-001") == "j-001"


def test_the_times_of_an_attempt_are_kept_from_their_first_time(tmp_path: Path) -> None:
    attempts = AttemptState(tmp_path)
    attempts.prepared(definition())
    first = attempts.owner("j")
    attempts.prepared(definition())
    assert attempts.owner("j") == AttemptState(tmp_path).owner("j") == first
    assert first is not None
    assert first.prepared_at is not None
    assert attempts.take(definition("j-002")).prepared_at is None
