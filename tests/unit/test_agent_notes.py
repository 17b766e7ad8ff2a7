import stat

import pytest

from rap.errors import JobFault
from rap.models import JobDefinition, Study
from worker_agent.notes import KEEP_STOPPED, Notes, key_of

pytestmark = pytest.mark.unit


def definition(task_id="j-001"):
    study = Study(git_repo_url="x", commit="c", branch="main")
    return JobDefinition(
        id="j",
        rap_id="r",
        task_id=task_id,
        repo_url="x",
        commit="c",
        study=study,
        workspace="w",
        action="a",
        created_at=0,
        image="i",
    )


def test_a_stop_is_remembered_by_the_next_agent_for_that_attempt_only(tmp_path):
    Notes(tmp_path).mark_stopped("j-001")
    notes = Notes(tmp_path)
    assert notes.is_stopped("j-001")
    assert not notes.is_stopped("j-002")
    notes.forget_stopped("j-001")
    notes.forget_stopped("j-001")
    assert not notes.is_stopped("j-001")


def test_who_stops_an_attempt_is_remembered_whichever_comes_first(tmp_path):
    notes = Notes(tmp_path)
    notes.mark_killed("j-001")
    notes.mark_stopped("j-001")
    notes.mark_stopped("j-002")
    assert Notes(tmp_path).is_killed("j-001")
    assert Notes(tmp_path).is_stopped("j-001")
    assert not Notes(tmp_path).is_killed("j-002")
    notes.forget_stopped("j-001")
    assert not notes.is_killed("j-001")
    assert not notes.is_stopped("j-001")


def test_only_old_notes_about_attempts_that_never_came_are_thrown_away(tmp_path):
    notes = Notes(tmp_path)
    notes.mark_stopped("j-001")
    written = (tmp_path / "stopped" / "j-001").stat().st_mtime
    notes.forget_old_stopped(written + KEEP_STOPPED - 1)
    assert notes.is_stopped("j-001")
    notes.forget_old_stopped(written + KEEP_STOPPED + 1)
    assert not notes.is_stopped("j-001")


def test_task_tokens_are_kept_for_the_next_agent_and_for_nobody_else(tmp_path):
    Notes(tmp_path).keep_token("j-001", b"\x00token")
    path = tmp_path / "tokens" / "j-001"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Notes(tmp_path).left_over_tokens() == {"j-001": b"\x00token"}
    Notes(tmp_path).drop_token("j-001")
    assert Notes(tmp_path).left_over_tokens() == {}


def test_the_first_moment_of_an_attempt_is_kept_and_a_new_attempt_has_its_own(tmp_path):
    notes = Notes(tmp_path)
    first = notes.take(definition())
    assert Notes(tmp_path).take(definition()) == first
    second = notes.take(definition("j-002"))
    assert second.task_id == "j-002"
    assert notes.owner("j") == second
    notes.leave("j")
    assert notes.owner("j") is None


@pytest.mark.parametrize("key", ["../escape", "a/b", "", ".hidden"])
def test_a_name_that_could_lead_elsewhere_is_refused(tmp_path, key):
    with pytest.raises(JobFault):
        Notes(tmp_path).mark_stopped(key)
    assert list((tmp_path / "stopped").iterdir()) == []


def test_notes_of_a_definition_without_task_id_are_filed_under_the_job():
    assert key_of("j", "") == "j"
    assert key_of("j", "j-001") == "j-001"
