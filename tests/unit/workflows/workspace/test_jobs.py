"""What a workspace remembers of its jobs."""

import pytest

from rap.messages.workspaces import KnownRap, WorkspaceStart
from tests.support.factories import job_spec
from workflows.workspace.jobs import KEEP_PER_ACTION, WorkspaceJobs

pytestmark = pytest.mark.unit


def rap(number: int) -> KnownRap:
    return KnownRap(
        rap_id=f"rap{number}", repo_url="url", commit="c", count=1, created_at=float(number)
    )


def test_of_an_action_run_again_and_again_the_oldest_jobs_are_forgotten() -> None:
    known = WorkspaceJobs(WorkspaceStart(backend="b", workspace="w"))
    for number in range(KEEP_PER_ACTION + 1):
        known.add(rap(number), (job_spec("a", id=f"job{number}"),))
    known.cancel([f"job{number}" for number in range(1, KEEP_PER_ACTION + 1)])
    assert "a" not in known.current()


def test_a_cancel_uncovers_the_job_before_it() -> None:
    known = WorkspaceJobs(WorkspaceStart(backend="b", workspace="w"))
    for number in range(KEEP_PER_ACTION):
        known.add(rap(number), (job_spec("a", id=f"job{number}"),))
    known.cancel([f"job{number}" for number in range(1, KEEP_PER_ACTION)])
    assert known.current()["a"].job_id == "job0"
