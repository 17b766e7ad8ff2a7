"""What is asked of a world: that nobody waits who is not going to be woken, and nothing untrue."""

from collections.abc import Iterator

from rap import ids
from rap.contracts.workflows import BACKEND_STATE, CURRENT_JOBS, JOB, RAP
from rap.status import State, StatusCode
from rap.stored_jobs import StoredJob
from tests.support.world.server import CLOSED
from tests.support.world.story import Story


def complaints(story: Story) -> list[str]:
    """All that is wrong if nothing is on its way any more."""
    return [*_waiting(story), *_untrue(story), *story.server.unretrieved]


def _waiting(story: Story) -> Iterator[str]:
    server = story.server
    for what, answer in story.answers:
        if not answer.is_there and not (story.disturbed and answer.failure == CLOSED):
            yield f"{what} is not answered {answer.failure}"
    for kind in (RAP, JOB):
        for workflow_id in server.open_ids(kind):
            yield f"{workflow_id} still runs"
    for task, job in story.outside.running.items():
        by_hand = {
            ids.rap_workflow_id(job.workspace, job.rap_id),
            ids.job_workflow_id(job.workspace, job.action, job.id),
        }
        # Who ends both at the same time leaves nobody who knows of the container.
        if not by_hand <= story.terminated:
            yield f"the container of {task} runs for nobody"
    for task in story.outside.doubled:
        yield f"{task} began beside another attempt at the same job"
    backend = ids.backend_workflow_id(story.backend)
    if not server.is_open(backend):
        yield "the backend is gone"
        return
    row = server.query(BACKEND_STATE, backend)
    for slot in row.slots:
        yield f"{slot.job_id} holds a slot for nobody"
    for entry in row.queue:
        yield f"{entry.job_id} waits for a slot"


def _untrue(story: Story) -> Iterator[str]:
    for workspace in story.workspaces:
        jobs = {job.id: job for job in story.records.of_workspace(story.backend, workspace)}
        for job in jobs.values():
            yield from _untrue_of(job, jobs, story)
        workflow_id = ids.workspace_workflow_id(story.backend, workspace)
        if not story.server.is_open(workflow_id):
            continue
        for name, known in story.server.query(CURRENT_JOBS, workflow_id).items():
            stored = jobs.get(known.job_id)
            if stored is None:
                yield f"{workspace} knows {known.job_id} ({name}), which nobody created"
            elif stored.status_code.state is not known.state:
                yield f"{workspace} takes {stored.id} for {known.state}: {stored.status_code}"


def _untrue_of(job: StoredJob, jobs: dict[str, StoredJob], story: Story) -> Iterator[str]:
    code, told = job.status_code, f"{job.id} ({job.action}) is {job.status_code}"
    if not code.is_final:
        yield f"{told} for readers"
    if code is StatusCode.SUCCEEDED and job.id not in story.outside.succeeded:
        yield f"{told}, and did not"
    by_nobody = code is StatusCode.KILLED_BY_ADMIN and not story.disturbed
    if by_nobody or code is StatusCode.INTERNAL_ERROR:
        yield f"{told}, and nobody did that"
    if code is StatusCode.DEPENDENCY_FAILED:
        needed = [jobs[one].status_code.state for one in job.wait_for if one in jobs]
        if State.FAILED not in needed:
            yield f"{told}, and no need did"
