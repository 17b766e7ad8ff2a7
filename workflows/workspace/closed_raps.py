"""What becomes of RAPs whose workflow was terminated: they are found, and their jobs end."""

from temporalio import workflow

from rap import ids
from rap.contracts.activities import END_RAP, FIND_CLOSED, FIND_ENDS, RECORD_JOBS
from rap.messages.backends import WorkflowIds
from rap.messages.workspaces import JobsFinished, LostRap
from rap.rows import JobChanges, RapEnding
from rap.status import State
from workflows.calls import for_client, on_records
from workflows.workspace.jobs import WorkspaceJobs

CHECK_RAPS_OLDER_THAN_S = 60


async def closed_raps(workspace: str, known: WorkspaceJobs, *, until: float) -> list[str]:
    """The RAPs with unfinished jobs whose workflow does not run any more; older ones only.

    Raises:
        ActivityError: Temporal did not tell in that time.
    """
    older_than = workflow.time() - CHECK_RAPS_OLDER_THAN_S
    old = [rap.rap_id for rap in known.active_raps() if rap.created_at < older_than]
    if not old:
        return []
    workflows = {rap_id: ids.rap_workflow_id(workspace, rap_id) for rap_id in old}
    closed = await for_client(
        FIND_CLOSED,
        WorkflowIds(ids=tuple(workflows.values())),
        until=until,
        summary="look after older RAPs",
    )
    return [rap_id for rap_id in old if workflows[rap_id] in closed.ids]


async def end_closed_rap(
    workspace: str, rap_id: str, known: WorkspaceJobs, *, wait_s: float, until: float
) -> JobsFinished | None:
    """End what a RAP whose workflow is gone has left unfinished; ``None`` if it runs after all.

    What has ended by itself ends so; what is just winding down is waited for so many seconds. What
    readers were told before stays, and is what planning and those who wait go by.

    Raises:
        ActivityError: nobody could tell until then.
    """
    fate = await for_client(
        FIND_ENDS,
        LostRap(rap_id=rap_id, workspace=workspace, wait_s=wait_s),
        until=until,
        summary="look how the jobs of a lost RAP ended",
    )
    if fate.is_running:
        return None
    if fate.changes:
        await on_records(RECORD_JOBS, JobChanges(changes=fate.changes))
    ended = await on_records(END_RAP, RapEnding(rap_id=rap_id, at=workflow.time()))
    # Without a record there is nobody to read of it; it has failed all the same.
    unrecorded = dict.fromkeys(known.active_jobs_of(rap_id), State.FAILED)
    states = {**unrecorded, **ended.states}
    return JobsFinished(rap_id=rap_id, states=states, rap_done=True)
