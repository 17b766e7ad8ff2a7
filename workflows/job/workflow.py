"""One attempt at a job: a single long activity on one host, and the orders to stop it."""

import asyncio
from contextlib import suppress

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from rap.contracts.activities import RUN_JOB, TERMINATE_JOB
    from rap.contracts.workflows import ATTEMPT, JOB, STOP
    from rap.egress import Ending, Fault, JobOutcome
    from rap.messages.jobs import AttemptResult, JobAttempt, StopOrder, StopReason, TerminateOrder
    from rap.status import StatusCode
    from rap.temporal.ends import failed_end
    from rap.temporal.search_attributes import STATUS_CODE
    from workflows.calls import discard, from_agent, on_host, start_run_job
    from workflows.job.clean_up import clean_up_later
    from workflows.job.conclusion import conclude, that_count
    from workflows.job.texts import ended_details, running_details


@workflow.defn(name=JOB.name)
class JobWorkflow:
    """One attempt at a job: run to its end, with nothing left behind on its host.

    It ends with the outcome of the attempt, or, stopped, with the reason; as Failed if the job has
    failed. What its user cancelled and what goes back to waiting closes as Completed. A cancel from
    the Web UI is an order like any other, given by an administrator. Once its host is declared lost
    it waits for it no longer, whatever it was about.
    """

    @workflow.init
    def __init__(self, attempt: JobAttempt) -> None:
        self._attempt = attempt
        self._stop: StopOrder | None = None
        self._host_is_lost = False

    @workflow.run
    async def run(self, attempt: JobAttempt) -> AttemptResult:
        """Run the attempt.

        Raises:
            ApplicationError: the job has failed; the error carries the same result.
        """
        began_at = workflow.time()
        workflow.set_current_details(running_details(attempt))
        return self._end(await self._run(attempt), began_at)

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
        cleaning = asyncio.create_task(clean_up_later(attempt))
        while not cleaning.done():
            # A cancel that comes now must not keep it from being started.
            with suppress(asyncio.CancelledError):
                await asyncio.shield(cleaning)
        cleaning.result()
        running.cancel()
        return AttemptResult(stopped=self._stop.reason if self._stop else StopReason.HOST_LOST)

    async def _to_the_end(self, running: workflow.ActivityHandle[RawValue]) -> AttemptResult:
        await workflow.wait_condition(lambda: running.done() or self._stop is not None)
        if self._stop is None:
            outcome = await _outcome(running)
            if outcome is None:
                await discard(self._attempt.definition, self._attempt.host)
            return AttemptResult(outcome=outcome)
        return AttemptResult(outcome=await self._wind_down(running), stopped=self._stop.reason)

    @workflow.signal(name=STOP.name)
    def stop(self, order: StopOrder) -> None:
        """Stop the attempt. The first order counts, but a cancel outranks a requeue.

        One that was about an earlier attempt at the job, and comes late, is none of our business.
        """
        if order.attempt not in (None, self._attempt.attempt):
            return
        if order.reason is StopReason.HOST_LOST:
            # Nobody is there to carry an order out, nor to say how an earlier one went.
            self._host_is_lost = True
        elif self._stop is None or (self._stop.reason.requeues and not order.reason.requeues):
            self._stop = order

    @workflow.query(name=ATTEMPT.name)
    def attempt(self) -> JobAttempt:
        """Show what is being run, and where."""
        return self._attempt

    def _end(self, result: AttemptResult, began_at: float) -> AttemptResult:
        """Show operators what the RAP will make of the attempt, and end so."""
        attempt, ended_at = self._attempt, workflow.time()
        end = conclude(
            result,
            requires_db=attempt.definition.allow_database_access,
            faults=attempt.faults,
            attempt=attempt.attempt,
            interruptions=that_count(attempt.interrupted_at, ended_at),
            interruptions_a_day=attempt.interruptions_a_day,
        )
        workflow.set_current_details(ended_details(attempt, result, end))
        workflow.upsert_search_attributes([STATUS_CODE.value_set(end.code.value)])
        result = result.model_copy(
            update={
                "code": end.code,
                "message": end.message,
                "attempt": attempt.attempt,
                "began_at": began_at,
                "ended_at": ended_at,
            }
        )
        if end.code.is_final and end.code not in _NO_FAILURES:
            raise failed_end(end.message, end.code, result)
        return result

    async def _wind_down(self, running: workflow.ActivityHandle[RawValue]) -> JobOutcome | None:
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
        # Cancelled or not, it has an end that is to be looked at.
        await asyncio.gather(terminate, return_exceptions=True)
        if outcome is None:
            # The activity was between two tries: its container may run without it.
            await discard(self._attempt.definition, self._attempt.host)
        return outcome


_NO_FAILURES = (StatusCode.SUCCEEDED, StatusCode.CANCELLED_BY_USER)


async def _outcome(running: workflow.ActivityHandle[RawValue]) -> JobOutcome | None:
    """Await the activity; ``None`` when it ended without saying how the attempt stands.

    What cannot be read as an outcome is the agent's fault, and never the job's.
    """
    try:
        answer = await running
    except ActivityError:
        return None
    unreadable = JobOutcome(task_id="", ending=Ending.FAILED, fault=Fault.UNEXPECTED)
    return from_agent(answer, RUN_JOB) or unreadable
