"""Attempts at a job, as the RAP that has them made sees them: each is a ``JobWorkflow``.

It is a child of the run of the RAP's workflow that started it, but outlives that: a close policy
would end it where the RAP continues as new. What runs of a RAP that is terminated is stopped by the
workspace.
"""

from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ActivityError
from temporalio.workflow import ChildWorkflowHandle, ParentClosePolicy

from rap import ids
from rap.contracts.activities import LATEST_ATTEMPT
from rap.contracts.workflows import JOB, STOP
from rap.messages.jobs import AttemptQuestion, AttemptResult, JobAttempt, StopOrder, StopReason
from rap.models import JobSpec
from rap.temporal.start_options import start_options
from workflows.calls import on_controller, send_signal, start_child
from workflows.job.texts import job_texts
from workflows.markdown import summary as named

ASKED_WITHIN = timedelta(seconds=30)
"""The answer takes milliseconds; where none comes, it is asked again after the same time."""

RunningAttempt = ChildWorkflowHandle[Any, AttemptResult]


def attempt_workflow_id(spec: JobSpec) -> str:
    """The workflow of each attempt at a job."""
    return ids.job_workflow_id(spec.workspace, spec.action, spec.id)


async def start_attempt(spec: JobSpec, attempt: JobAttempt) -> RunningAttempt:
    """Start an attempt.

    Raises:
        WorkflowAlreadyStartedError: one at the job runs; or this is the first, and there was one.
    """
    options = start_options(
        attempt_workflow_id(spec),
        job_texts(spec, attempt, namespace=workflow.info().namespace),
        rap_id=spec.rap_id,
        job_id=spec.id,
        backend=spec.backend,
        workspace=spec.workspace,
        action=spec.action,
        requester=spec.user,
        project=spec.project,
        requires_db=spec.requires_db,
    )
    return await start_child(
        JOB,
        attempt,
        options,
        when_parent_closes=ParentClosePolicy.ABANDON,
        reuse_id=attempt.attempt > 1,
    )


async def latest_attempt(spec: JobSpec) -> JobAttempt | None:
    """The latest attempt at a job, whether it runs or has ended; asked for until it is told."""
    question = AttemptQuestion(workflow_id=attempt_workflow_id(spec))
    summary = f"look for an attempt at {spec.action}"
    while True:
        try:
            found = await on_controller(
                LATEST_ATTEMPT, question, limit=ASKED_WITHIN, summary=summary, attempts=3
            )
        except ActivityError:
            await workflow.sleep(ASKED_WITHIN, summary=named(f"again: {summary}"))
        else:
            return found.attempt


async def stop_attempt(spec: JobSpec, *, by: str) -> None:
    """Tell a running attempt that its user cancelled the job; one that has just ended needs no
    telling.
    """
    order = StopOrder(reason=StopReason.CANCELLED, by=by)
    await send_signal(STOP, attempt_workflow_id(spec), order, attempts=1)
