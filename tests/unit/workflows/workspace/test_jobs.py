"""What a workspace remembers of its jobs."""

import pytest

from rap.messages.workspaces import JobsFinished, KnownRap, WorkspaceStart
from rap.status import State
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


def twice(state: State = State.SUCCEEDED) -> WorkspaceJobs:
    """A workspace in which ``a`` has succeeded as ``job0``, and runs again as ``job1``."""
    known = WorkspaceJobs(WorkspaceStart(backend="b", workspace="w"))
    for number in range(2):
        known.add(rap(number), (job_spec("a", id=f"job{number}"),))
        if number == 0:
            known.finish(JobsFinished(rap_id="rap0", states={"job0": state}, rap_done=True))
    return known


def again(known: WorkspaceJobs) -> WorkspaceJobs:
    """The workspace in its next run."""
    return WorkspaceJobs(known.carried_over())


def test_a_job_that_is_being_cancelled_is_left_out_at_once() -> None:
    known = twice()
    known.cancel(["job1"])
    assert again(known).current()["a"].job_id == "job0"
    assert [job.job_id for job in known.carried_over().jobs["a"]] == ["job0", "job1"]


@pytest.mark.parametrize("state", [State.SUCCEEDED, State.FAILED])
def test_one_that_turns_out_to_have_filed_its_outputs_covers_the_one_before(state: State) -> None:
    known = twice()
    known.cancel(["job1"])
    known = again(known)
    known.finish(JobsFinished(rap_id="rap1", states={"job1": state}))
    current = again(known).current()["a"]
    assert (current.job_id, current.cancelled, current.state) == ("job1", True, state)


def test_one_that_was_cancelled_in_time_does_not() -> None:
    known = twice()
    known.cancel(["job1"])
    ended = JobsFinished(rap_id="rap1", states={"job1": State.FAILED}, unfiled=("job1",))
    known.finish(ended)
    assert again(known).current()["a"].job_id == "job0"


def test_a_finished_job_that_is_cancelled_covers_the_one_before_it_too() -> None:
    known = twice()
    known.finish(JobsFinished(rap_id="rap1", states={"job1": State.SUCCEEDED}))
    known.cancel(["job1"])
    assert known.current()["a"].cancelled


def test_a_new_job_counts_whatever_was_cancelled_before_it() -> None:
    known = twice()
    known.finish(JobsFinished(rap_id="rap1", states={"job1": State.SUCCEEDED}))
    known.cancel(["job1"])
    known.add(rap(2), (job_spec("a", id="job2"),))
    assert known.current()["a"].job_id == "job2"
    known.cancel(["job2"])
    unfiled = JobsFinished(rap_id="rap2", states={"job2": State.FAILED}, unfiled=("job2",))
    known.finish(unfiled)
    assert known.current()["a"].job_id == "job1"
