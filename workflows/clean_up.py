"""What a host that was declared lost has to clear away, should it come back."""

from datetime import timedelta

from temporalio import workflow
from temporalio.workflow import ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from activities.contracts import DISCARD_JOB
    from rap import ids
    from rap.messages import DiscardOrder, JobAttempt
    from rap.temporal import search_attributes
    from workflows.calls import on_host
    from workflows.describe import clean_up_texts

WAIT = timedelta(days=30)
"""A host that does not come back within this time has nothing left, or is looked after by hand."""


@workflow.defn(name="CleanUpWorkflow")
class CleanUpWorkflow:
    """Has an attempt cleared away by the host it ran on, as soon as that host is there.

    The job itself has gone on elsewhere. A later attempt of it on the same host is left alone.
    """

    @workflow.run
    async def run(self, attempt: JobAttempt) -> None:
        """Give the order, and wait until it is carried out."""
        definition = attempt.definition
        await on_host(
            DISCARD_JOB,
            DiscardOrder(definition=definition),
            backend=definition.backend,
            host=attempt.host,
        )


async def clean_up_later(attempt: JobAttempt) -> None:
    """Start a ``CleanUpWorkflow`` that outlives its starter."""
    definition = attempt.definition
    texts = clean_up_texts(attempt, namespace=workflow.info().namespace)
    await workflow.start_child_workflow(
        CleanUpWorkflow.run,
        attempt,
        id=ids.clean_up_workflow_id(ids.task_id(definition.id, attempt.attempt)),
        parent_close_policy=ParentClosePolicy.ABANDON,
        execution_timeout=WAIT,
        search_attributes=search_attributes(
            rap_id=definition.rap_id,
            job_id=definition.id,
            backend=definition.backend,
            workspace=definition.workspace,
            action=definition.action,
        ),
        static_summary=texts.summary,
        static_details=texts.details,
    )
