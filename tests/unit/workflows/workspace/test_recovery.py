"""What a lost workspace knew, worked out from the records of its jobs."""

import pytest

from rap.messages.workspaces import KnownJob
from rap.records.transitions import born
from rap.status import State, StatusCode
from rap.stored_jobs import StoredJob
from tests.support.records import job_row
from workflows.workspace.jobs import KEEP_PER_ACTION, KEEP_RAPS, WorkspaceJobs
from workflows.workspace.recovery import recovered

pytestmark = pytest.mark.unit


def record(
    rap_id: str, action: str, code: StatusCode, *wait_for: str, created_at: int = 0
) -> StoredJob:
    return born(job_row(rap_id))._replace(
        id=f"{rap_id}.{action}",
        action=action,
        repo_url="https://github.com/opensafely/x",
        commit="c" * 40,
        created_at=created_at,
        status_code=code,
        wait_for=wait_for,
    )


def test_the_latest_uncancelled_job_of_an_action_is_its_current_one() -> None:
    start = recovered(
        "b",
        "w",
        [
            record("r1", "a", StatusCode.SUCCEEDED),
            record("r2", "a", StatusCode.NONZERO_EXIT, created_at=1),
            record("r3", "a", StatusCode.CANCELLED_BY_USER, created_at=2),
        ],
    )
    assert WorkspaceJobs(start).current() == {
        "a": KnownJob(job_id="r2.a", rap_id="r2", state=State.FAILED)
    }
    assert [(rap.rap_id, rap.count, rap.done) for rap in start.raps] == [
        ("r1", 1, True),
        ("r2", 1, True),
        ("r3", 1, True),
    ]


def test_those_who_wait_hear_what_has_ended_and_are_remembered_for_the_rest() -> None:
    start = recovered(
        "b",
        "w",
        [
            record("r1", "a", StatusCode.SUCCEEDED),
            record("r1", "b", StatusCode.EXECUTING, "r1.a"),
            record("r2", "c", StatusCode.WAITING_ON_DEPENDENCIES, "r1.a", "r1.b", created_at=1),
            record("r2", "d", StatusCode.WAITING_ON_DEPENDENCIES, "r2.c", created_at=1),
        ],
    )
    assert start.news == {"r2": {"r1.a": State.SUCCEEDED}}
    assert start.waiting == {"r1.b": ("r2",)}
    assert [rap.done for rap in start.raps] == [False, False]


def test_only_as_much_is_remembered_as_a_workspace_remembers_by_itself() -> None:
    many = [
        record(f"r{number:04}", "a", StatusCode.SUCCEEDED, created_at=number)
        for number in range(KEEP_RAPS + 20)
    ]
    start = recovered("b", "w", [record("old", "z", StatusCode.EXECUTING), *many])
    assert len(start.jobs["a"]) == KEEP_PER_ACTION
    assert start.jobs["a"][-1].rap_id == many[-1].rap_id
    assert [rap.rap_id for rap in start.raps if not rap.done] == ["old"]
    assert len(start.raps) == KEEP_RAPS + 1


def test_a_new_workspace_knows_nothing() -> None:
    assert WorkspaceJobs(recovered("b", "w", [])).is_empty
