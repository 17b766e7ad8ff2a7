"""Attempts at a job, as the RAP that has them made sees them: each is a ``JobWorkflow``."""

from temporalio import workflow
from temporalio.exceptions import ApplicationError
from temporalio.workflow import ChildWorkflowHandle, ParentClosePolicy

from rap import ids
from rap.messages import AttemptResult, CancelOrder, JobAttempt, StopOrder, StopReason
from rap.models import JobSpec
from rap.temporal import search_attributes
from workflows.describe import job_texts
from workflows.job import JobWorkflow

RunningAttempt = ChildWorkflowHandle[JobWorkflow, AttemptResult]


async def start_attempt(spec: JobSpec, attempt: JobAttempt) -> RunningAttempt:
    """Start an attempt; it is told to stop when its RAP is terminated."""
    texts = job_texts(spec, attempt, namespace=workflow.info().namespace)
    return await workflow.start_child_workflow(
        JobWorkflow.run,
        attempt,
        id=ids.job_workflow_id(spec.id),
        parent_close_policy=ParentClosePolicy.REQUEST_CANCEL,
        search_attributes=search_attributes(
            rap_id=spec.rap_id,
            job_id=spec.id,
            backend=spec.backend,
            workspace=spec.workspace,
            action=spec.action,
            requester=spec.user,
            project=spec.project,
            requires_db=spec.requires_db,
        ),
        static_summary=texts.summary,
        static_details=texts.details,
    )


async def stop_attempt(attempt: RunningAttempt, order: CancelOrder) -> None:
    """Tell a running attempt to stop; one that has just ended needs no telling."""
    try:
        await attempt.signal(JobWorkflow.stop, StopOrder(reason=StopReason.CANCELLED, by=order.by))
    except ApplicationError:
        workflow.logger.info("%s ended before its cancel arrived", attempt.id)
