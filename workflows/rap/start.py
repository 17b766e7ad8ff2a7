"""How a workspace starts a RAP, once its jobs are planned."""

from collections.abc import Iterable, Mapping

from temporalio import workflow
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from rap import ids
from rap.contracts.workflows import RAP
from rap.messages.carried_over import RapState
from rap.messages.workspaces import RapStart
from rap.models import CreateRequest, JobSpec, Project
from rap.status import State
from rap.temporal.codec import size_as_sent
from rap.temporal.start_options import start_options
from workflows.calls import start_child
from workflows.job.weight import weigh
from workflows.rap.texts import rap_texts

LARGEST_RAP = 1_300_000
"""Bytes of a RAP's argument as it is sent. Temporal takes 2 MiB, and where a RAP goes on in a new
run, how its jobs stand is sent along: seventy bytes each, without what they used."""

LARGEST_STATE = 1_900_000
"""Bytes of the argument of a RAP that continues as new."""

LONGEST_HISTORY = 4000
"""Events after which a RAP continues as new."""

MOST_JOBS = 10_000
"""Of a RAP; its workflow looks at all of them whenever it says how they stand."""


def rap_start(
    request: CreateRequest, project: Project, jobs: Iterable[JobSpec], awaited: Mapping[str, State]
) -> RapStart:
    """What a RAP is started with; its planned jobs get their weights and traces here.

    Of the jobs of other RAPs that they wait for, ``awaited`` has the last known states.
    """
    return RapStart(
        rap_id=request.rap_id,
        backend=request.backend,
        workspace=request.workspace,
        jobs=tuple(
            job.model_copy(update={"trace_context": _new_trace()})
            for job in weigh(jobs, project.weights)
        ),
        **project.model_dump(
            include={"limits", "image_registry", "pins_images", "interruptions_a_day", "job_env"}
        ),
        awaited=dict(awaited),
        longest_history=LONGEST_HISTORY,
    )


def is_too_large(start: RapStart) -> bool:
    """Whether Temporal would refuse this argument, or its workflow be too slow with it."""
    return len(start.jobs) > MOST_JOBS or size_as_sent(start) > LARGEST_RAP


def next_start(
    start: RapStart, *, jobs: tuple[JobSpec, ...], awaited: dict[str, State], state: RapState
) -> RapStart:
    """What the next run of a RAP is started with."""
    following = start.model_copy(update={"jobs": jobs, "awaited": awaited, "state": state})
    if size_as_sent(following) <= LARGEST_STATE:
        return following
    # The read model has the figures, and the query for all rows can do without.
    slim = tuple(job.without_metrics() for job in state.jobs)
    return following.model_copy(update={"state": state.model_copy(update={"jobs": slim})})


def too_many(jobs: int) -> str:
    """The sentence for the client."""
    return (
        f"The request comes to {jobs} jobs, more than can be run at once. Please request fewer "
        "actions."
    )


async def start_rap(start: RapStart, request: CreateRequest) -> bool:
    """Start a RAP that outlives its workspace's workflow; false if its id is taken elsewhere."""
    texts = rap_texts(request, start.jobs, namespace=workflow.info().namespace)
    start = start.model_copy(update={"about": texts.details})
    options = start_options(
        ids.rap_workflow_id(request.workspace, request.rap_id),
        texts,
        rap_id=request.rap_id,
        backend=request.backend,
        workspace=request.workspace,
        requester=request.created_by,
        project=request.project,
        requires_db=any(job.requires_db for job in start.jobs),
    )
    try:
        await start_child(
            RAP, start, options, when_parent_closes=ParentClosePolicy.ABANDON, reuse_id=False
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


def _new_trace() -> dict[str, str]:
    """A new trace, not that of the request: its root is the job (docs/spec/controller.md 16.3)."""
    random = workflow.random()
    return {"traceparent": f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01"}
