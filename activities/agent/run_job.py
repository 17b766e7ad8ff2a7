"""The activity that runs one attempt at a job, for as long as it takes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto

import structlog
from temporalio import activity

from rap.contracts.activities import RUN_JOB
from rap.egress import Ending, JobOutcome
from rap.errors import PermanentFault
from rap.models import JobDefinition
from rap.telemetry import traces
from worker_agent.attempt import Attempt
from worker_agent.egress_guard import RETRY_DELAY, AgentRestart
from worker_agent.host import Host
from worker_agent.running_jobs import Job, bind_log_to
from worker_agent.state.attempts import key_of
from worker_agent.workspace.metadata import load_for
from worker_agent.workspace.storage import component

log = structlog.get_logger()

LETTING_GO = 3.0
"""Seconds that work in hand gets to come to an orderly stop when the agent shuts down."""


class _Ends(Enum):
    """Why the activity stops waiting for the attempt."""

    DONE = auto()
    STOP = auto()
    SHUTDOWN = auto()
    LET_GO = auto()


class RunJob:
    """``run_job``: carries an attempt to its end, from wherever it stands.

    Only a cancel, or an order to stop, kills the container. When the agent shuts down, when
    Temporal has given this call up, or when somebody pauses the activity, the container is left
    alone, and a later call goes on with it.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    @activity.defn(name=RUN_JOB.name)
    async def run_job(self, definition: JobDefinition) -> JobOutcome:
        """Run one attempt (docs/spec/agent.md 4.4); its outcome, however it ended.

        AgentRestart when the agent shuts down: another call goes on with the attempt.
        """
        key = key_of(definition.id, definition.task_id)
        try:
            component("job id", definition.id)
            component("task id", key)
        except PermanentFault as fault:
            log.error(f"refused: {fault}")  # noqa: TRY400
            return JobOutcome(task_id=definition.task_id, ending=Ending.FAILED, fault=fault.fault)
        bind_log_to(definition)
        self._host.attempts.keep_token(key, activity.info().task_token)
        pause = self._host.pauses.job_heartbeat
        async with _heartbeats(pause) as beat, self._host.jobs.admit(definition) as job:
            beat(job)
            outcome = await self._until_the_end(Attempt(self._host, job), job, key)
            await self._end_span(job, outcome)
        # Not when the activity was given back: then the next agent makes sure with this token.
        _when_answered(lambda: self._host.attempts.drop_token(key))
        return outcome

    async def _end_span(self, job: Job, outcome: JobOutcome) -> None:
        record = None
        if traces.is_on():
            with traces.harmless(f"failed to trace job results for job {job.definition.id}"):
                record = await asyncio.to_thread(load_for, job.definition, self._host.storage)
        job.spans.ended(outcome, record)

    async def _until_the_end(self, attempt: Attempt, job: Job, key: str) -> JobOutcome:
        flow = asyncio.create_task(attempt.run())
        end = await self._first_of(flow, job)
        if end is _Ends.STOP:
            self._host.attempts.mark_stopped(key)
            flow = asyncio.create_task(_stop(attempt, flow))
            end = await self._first_of(flow, job, stoppable=False)
        if end is _Ends.DONE:
            return flow.result()
        flow.cancel()
        await asyncio.wait({flow}, timeout=LETTING_GO)
        if end is _Ends.SHUTDOWN:
            log.info("the agent shuts down: the job is given back as it stands")
            raise AgentRestart(RETRY_DELAY)
        log.info("this call lets go of the job: it is left as it stands")
        raise asyncio.CancelledError

    async def _first_of(
        self, flow: asyncio.Task[JobOutcome], job: Job, *, stoppable: bool = True
    ) -> _Ends:
        """Wait for the flow, or for a reason not to wait for it any more."""
        events = {
            asyncio.create_task(activity.wait_for_worker_shutdown()): _Ends.SHUTDOWN,
            asyncio.create_task(job.superseded.wait()): _Ends.LET_GO,
        }
        if stoppable:
            events[asyncio.create_task(job.stop.wait())] = _Ends.STOP
        try:
            while True:
                try:
                    await asyncio.wait({flow, *events}, return_when=asyncio.FIRST_COMPLETED)
                except asyncio.CancelledError:
                    end = _meaning_of_cancel()
                    if end is _Ends.STOP and not stoppable:
                        continue
                    return end
                if flow.done():
                    return _Ends.DONE
                return next(end for event, end in events.items() if event.done())
        finally:
            for event in events:
                event.cancel()


def _when_answered(do: Callable[[], None]) -> None:
    """Call this once Temporal has the activity's result, which it waits for in the same task."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101
    task.add_done_callback(lambda _: do())


async def _stop(attempt: Attempt, flow: asyncio.Task[JobOutcome]) -> JobOutcome:
    """End the flow where it may be ended, and the attempt with it."""
    async with attempt.publishing:
        flow.cancel()
        await asyncio.wait({flow})
    if not flow.cancelled():
        return flow.result()
    return await attempt.stop()


def _meaning_of_cancel() -> _Ends:
    details = activity.cancellation_details()
    if details is not None and details.cancel_requested:
        return _Ends.STOP
    if details is not None and details.worker_shutdown:
        return _Ends.SHUTDOWN
    return _Ends.LET_GO


@asynccontextmanager
async def _heartbeats(pause: float) -> AsyncIterator[Callable[[Job], None]]:
    """Heartbeat all the while, with the progress of the job once it is known."""
    known: list[Job] = []

    async def beat() -> None:
        while True:
            activity.heartbeat(*(job.progress for job in known))
            await asyncio.sleep(pause)

    beating = asyncio.create_task(beat())
    try:
        yield known.append
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
