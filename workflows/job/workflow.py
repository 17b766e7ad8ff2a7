"""One attempt at a job: a single long activity on one host, and the orders to stop it."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities.contracts import DISCARD_JOB, TERMINATE_JOB
    from rap.egress import JobOutcome
    from rap.messages import (
        AttemptResult,
        DiscardOrder,
        JobAttempt,
        StopOrder,
        StopReason,
        TerminateOrder,
    )
    from rap.temporal import STATUS_CODE
    from workflows.calls import on_host, start_run_job
    from workflows.clean_up import clean_up_later
    from workflows.describe import ended_details, running_details
    from workflows.results import conclude


@workflow.defn(name="JobWorkflow")
class JobWorkflow:
    """Runs one attempt to its end and leaves nothing behind on its host.

    It ends with the outcome of the attempt, or, stopped, with the reason. A cancel from the Web UI
    is an order like any other, given by an administrator. Once its host is declared lost it waits
    for it no longer, whatever it was about.
    """

    @workflow.init
    def __init__(self, attempt: JobAttempt) -> None:
        self._attempt = attempt
        self._stop: StopOrder | None = None
        self._host_is_lost = False

    @workflow.run
    async def run(self, attempt: JobAttempt) -> AttemptResult:
        """Run the attempt."""
        workflow.set_current_details(running_details(attempt))
        result = await self._run(attempt)
        self._tell_end(result)
        return result

    async def _run(self, attempt: JobAttempt) -> AttemptResult:
        running = start_run_job(attempt)
        result = asyncio.create_task(self._to_the_end(running))
        while not (result.done() or self._host_is_lost):
            try:
                await workflow.wait_condition(lambda: result.done() or self._host_is_lost)
            except asyncio.CancelledError:
                self._stop = self._stop or StopOrder(reason=StopReason.KILLED_BY_ADMIN)
        if result.done():
            return result.result()
        if workflow.patched("clean-up-later"):
            await clean_up_later(attempt)
        running.cancel()
        return AttemptResult(stopped=self._stop.reason if self._stop else StopReason.HOST_LOST)

    async def _to_the_end(self, running: workflow.ActivityHandle[JobOutcome]) -> AttemptResult:
        await workflow.wait_condition(lambda: running.done() or self._stop is not None)
        if self._stop is None:
            outcome = await _outcome(running)
            if outcome is None:
                await self._discard()
            return AttemptResult(outcome=outcome)
        return AttemptResult(outcome=await self._wind_down(running), stopped=self._stop.reason)

    @workflow.signal
    def stop(self, order: StopOrder) -> None:
        """Stop the attempt. The first order counts, but a cancel outranks a requeue."""
        if order.reason is StopReason.HOST_LOST:
            # Nobody is there to carry an order out, nor to say how an earlier one went.
            self._host_is_lost = True
        elif self._stop is None or (self._stop.reason.requeues and not order.reason.requeues):
            self._stop = order

    @workflow.query
    def attempt(self) -> JobAttempt:
        """Show what is being run, and where."""
        return self._attempt

    def _tell_end(self, result: AttemptResult) -> None:
        """Show operators what the RAP will make of the attempt."""
        attempt = self._attempt
        end = conclude(
            result,
            requires_db=attempt.definition.allow_database_access,
            faults=attempt.faults or 0,
        )
        workflow.set_current_details(ended_details(attempt, result, end))
        if attempt.faults is not None:
            workflow.upsert_search_attributes([STATUS_CODE.value_set(end.code.value)])

    async def _wind_down(self, running: workflow.ActivityHandle[JobOutcome]) -> JobOutcome | None:
        """End the container now, wait for the activity, and make sure that nothing is left."""
        definition, host = self._attempt.definition, self._attempt.host
        terminate = asyncio.create_task(
            on_host(
                TERMINATE_JOB,
                TerminateOrder(job_id=definition.id, task_id=definition.task_id),
                backend=definition.backend,
                host=host,
            )
        )
        running.cancel()
        outcome = await _outcome(running)
        if not terminate.done():
            terminate.cancel()
        if outcome is None:
            # The activity was between two tries: its container may run without it.
            await self._discard()
        return outcome

    async def _discard(self) -> None:
        definition = self._attempt.definition
        await on_host(
            DISCARD_JOB,
            DiscardOrder(definition=definition),
            backend=definition.backend,
            host=self._attempt.host,
        )


async def _outcome(running: workflow.ActivityHandle[JobOutcome]) -> JobOutcome | None:
    """Await the activity; ``None`` when it ended without saying how the attempt stands."""
    try:
        return await running
    except ActivityError:
        return None
