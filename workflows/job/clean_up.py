"""What a host that is away or was declared lost has to clear away once it is back."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, WorkflowAlreadyStartedError
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from rap import ids
    from rap.contracts.workflows import CLEAN_UP
    from rap.messages.jobs import JobAttempt
    from rap.temporal.start_options import start_options
    from workflows.calls import discard, start_child
    from workflows.job.texts import clean_up_texts

WAIT = timedelta(days=30)
"""A host that does not come back within this time has nothing left, or is looked after by hand."""


AT_ONCE = timedelta(minutes=1)
"""A host that does not clear away within this time is away; nobody waits for it any longer."""


@workflow.defn(name=CLEAN_UP.name)
class CleanUpWorkflow:
    """Has an attempt cleared away by the host it ran on, as soon as that host is there.

    The job itself has gone on elsewhere. A later attempt of it on the same host is left alone.
    """

    @workflow.run
    async def run(self, attempt: JobAttempt) -> None:
        """Give the order, and wait until it is carried out."""
        await discard(attempt.definition, attempt.host)


async def clear_away(attempt: JobAttempt, *, is_lost: Callable[[], bool]) -> None:
    """Have an attempt cleared away whose workflow was ended by hand.

    Returns when that is done, or when it is clear that its host is away or ``is_lost``: whoever
    calls this must not wait for ever, and the host clears it away once it is back.
    """
    clearing = asyncio.create_task(_is_cleared_away(attempt))
    await workflow.wait_condition(lambda: clearing.done() or is_lost())
    if clearing.done() and clearing.result():
        return
    clearing.cancel()
    # One that is under way already does the same.
    with suppress(WorkflowAlreadyStartedError):
        await clean_up_later(attempt)


async def _is_cleared_away(attempt: JobAttempt) -> bool:
    try:
        await discard(attempt.definition, attempt.host, within=AT_ONCE)
    except ActivityError:
        return False
    return True


async def clean_up_later(attempt: JobAttempt) -> None:
    """Start a ``CleanUpWorkflow`` that outlives its starter."""
    definition = attempt.definition
    task = ids.task_id(definition.id, attempt.attempt)
    options = start_options(
        ids.clean_up_workflow_id(definition.workspace, definition.action, task),
        clean_up_texts(attempt, namespace=workflow.info().namespace),
        rap_id=definition.rap_id,
        job_id=definition.id,
        backend=definition.backend,
        workspace=definition.workspace,
        action=definition.action,
    )
    await start_child(
        CLEAN_UP, attempt, options, when_parent_closes=ParentClosePolicy.ABANDON, within=WAIT
    )
