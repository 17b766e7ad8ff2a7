"""How a workspace starts a RAP, once its jobs are planned."""

from collections.abc import Iterable, Mapping

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

from rap import ids
from rap.messages import RapStart
from rap.models import CreateRequest, JobSpec, Project
from rap.status import State
from rap.temporal import search_attributes
from workflows.describe import rap_texts
from workflows.weighing import weigh

LARGEST_RAP = 1_500_000
"""Bytes of a RAP's argument; Temporal takes no more than 2 MiB."""


def rap_start(
    request: CreateRequest,
    project: Project,
    jobs: Iterable[JobSpec],
    awaited: Mapping[str, State],
) -> RapStart:
    """What a RAP is started with.

    Args:
        request: what was asked for.
        project: its project, with what the controller's configuration adds.
        jobs: the planned jobs; they get their weights and traces here.
        awaited: the last known states of jobs of other RAPs that they wait for.
    """
    return RapStart(
        rap_id=request.rap_id,
        backend=request.backend,
        workspace=request.workspace,
        jobs=tuple(
            job.model_copy(update={"trace_context": _new_trace()})
            for job in weigh(jobs, project.weights)
        ),
        limits=project.limits,
        image_registry=project.image_registry,
        pins_images=project.pins_images,
        job_env=project.job_env,
        awaited=dict(awaited),
        tells_status=True,
    )


def is_too_large(start: RapStart) -> bool:
    """Whether Temporal would refuse this argument."""
    return len(start.model_dump_json()) > LARGEST_RAP


async def start_rap(start: RapStart, request: CreateRequest) -> bool:
    """Start a RAP that outlives its workspace's workflow; false if its id is taken elsewhere."""
    texts = rap_texts(request, start.jobs, namespace=workflow.info().namespace)
    try:
        await workflow.start_child_workflow(
            "RapWorkflow",
            start,
            id=ids.rap_workflow_id(request.rap_id),
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            parent_close_policy=ParentClosePolicy.ABANDON,
            search_attributes=search_attributes(
                rap_id=request.rap_id,
                backend=request.backend,
                workspace=request.workspace,
                requester=request.created_by,
                project=request.project,
                requires_db=any(job.requires_db for job in start.jobs),
            ),
            static_summary=texts.summary,
            static_details=texts.details,
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


def _new_trace() -> dict[str, str]:
    """A new W3C trace, never that of the request: its root is the job (controller.md 16.3)."""
    random = workflow.random()
    return {"traceparent": f"00-{random.getrandbits(128):032x}-{random.getrandbits(64):016x}-01"}
