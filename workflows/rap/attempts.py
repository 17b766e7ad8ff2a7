"""The attempts of a RAP: each is started or joined, awaited, stopped if its job is cancelled, and
cleared away if it did not tell how it ended.
"""

import asyncio
from collections.abc import Callable

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)

from rap.messages.jobs import AttemptEnd, AttemptResult, JobAttempt, StopReason
from rap.messages.slots import SlotGrant
from rap.messages.workspaces import RapStart
from rap.models import ImageAnswer, JobSpec
from rap.temporal.ends import end_in
from workflows.calls import await_attempts
from workflows.job.clean_up import clear_away
from workflows.job.definition import job_definition
from workflows.job.start import attempt_workflow_id, latest_attempt, start_attempt, stop_attempt
from workflows.rap.messages import RapMessages
from workflows.rap.progress import Progress

MOST_STARTED_AT_ONCE = 25
"""Attempts: what starts in one workflow task is sent as one message, which may have 4 MiB."""


class Attempts:
    """Runs attempts as child workflows of this run, and takes over those of earlier runs.

    ``on_start`` is told of each job just before an attempt at it is started or joined.
    """

    def __init__(
        self, start: RapStart, messages: RapMessages, *, on_start: Callable[[Progress], None]
    ) -> None:
        self._start, self._messages, self._on_start = start, messages, on_start
        self._earlier = EarlierAttempts()
        self._stopping: set[asyncio.Task[None]] = set()
        self._clearing = 0
        self._lost_hosts: set[str] = set()
        self._is_leaving = False

    async def may_start(self) -> None:
        """Hold an attempt back while many others are being started, and while this run is about to
        end: then the next one starts it.
        """

        def may_start() -> bool:
            return not self._is_leaving and self._messages.being_started < MOST_STARTED_AT_ONCE

        while not may_start():
            # Whoever goes first may be one too many for the next.
            await workflow.wait_condition(may_start)

    async def run(self, job: Progress, grant: SlotGrant, image: ImageAnswer) -> AttemptResult:
        """Run one attempt as a child workflow, and pass a cancel on to it."""
        attempt = self._attempt(job, grant.host, image)
        if job.attempt > 1:
            known = await latest_attempt(job.spec)
            if known is not None and known.attempt >= job.attempt:
                return await self._join(job, known)
        self._on_start(job)
        try:
            with self._messages.starting_work():
                child = await start_attempt(job.spec, attempt)
        except WorkflowAlreadyStartedError:
            return await self._join(job, await latest_attempt(job.spec) or attempt)
        job.is_running, job.host = True, grant.host
        if job.cancelled_by is not None:
            self.stop(job)
        try:
            return await child
        except ChildWorkflowError as error:
            killed = isinstance(error.cause, TerminatedError | CancelledError)
            result = end_in(error, AttemptResult)
            return result or await self._clear_away(attempt, killed=killed)

    def _attempt(self, job: Progress, host: str, image: ImageAnswer) -> JobAttempt:
        start = self._start
        definition = job_definition(
            job.spec,
            attempt=job.attempt,
            limits=start.limits,
            image_registry=start.image_registry,
            image_sha=image.digest,
            job_env=start.job_env,
        )
        return JobAttempt(
            definition=definition,
            attempt=job.attempt,
            host=host,
            faults=job.faults,
            interrupted_at=job.interrupted_at,
            interruptions_a_day=start.interruptions_a_day,
        )

    async def _join(self, job: Progress, known: JobAttempt) -> AttemptResult:
        """Go on with an attempt that was made before somebody reset this workflow.

        So what has ended is not done again, and what runs does not run twice.
        """
        job.attempt, job.faults, job.host = known.attempt, known.faults, known.host
        job.interrupted_at = known.interrupted_at
        self._on_start(job)
        job.is_running = True
        if job.cancelled_by is not None:
            self.stop(job)
        return await self.end_of_earlier(job)

    async def end_of_earlier(self, job: Progress) -> AttemptResult:
        """Wait for an attempt that an earlier run has started."""
        end = await self._earlier.end_of(job.spec)
        if end.result is not None:
            return end.result
        attempt = self._attempt(job, job.host, job.pinned or ImageAnswer())
        return await self._clear_away(attempt, killed=end.killed)

    async def _clear_away(self, attempt: JobAttempt, *, killed: bool) -> AttemptResult:
        """Have an attempt cleared away that did not tell how it ended."""
        self._clearing += 1
        try:
            await clear_away(attempt, is_lost=lambda: attempt.host in self._lost_hosts)
        finally:
            self._clearing -= 1
        return AttemptResult(stopped=StopReason.KILLED_BY_ADMIN if killed else None)

    @property
    def is_clearing(self) -> bool:
        """Whether an attempt is being cleared away: the run that began it has to end it."""
        return self._clearing > 0

    def give_up_host(self, host: str) -> None:
        """Wait no longer for a host that will not come back."""
        self._lost_hosts.add(host)

    def stop(self, job: Progress) -> None:
        """Have the running attempt at a cancelled job stopped."""
        stopping = asyncio.create_task(stop_attempt(job.spec, by=job.cancelled_by or ""))
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    @property
    def is_stopping(self) -> bool:
        """Whether an attempt is yet to be told to stop."""
        return bool(self._stopping)

    def leave(self) -> None:
        """Start no attempts any more: this run is about to end."""
        self._is_leaving = True


class EarlierAttempts:
    """Waits for the ends of attempts that this run is not the parent of.

    A workflow that continues as new is not told how its children end. So the next run asks: one
    activity waits for all of them, and reads the end where it is kept, in the history of the
    attempt. So it is found also where the attempt ended between two runs, or was terminated by
    hand.

    Those that are asked about at the same time share one activity; it is never held up by others.
    """

    def __init__(self) -> None:
        self._unasked: dict[str, asyncio.Future[AttemptEnd]] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def end_of(self, job: JobSpec) -> AttemptEnd:
        """Wait until the running attempt at a job has ended."""
        if not self._unasked:
            asking = asyncio.create_task(self._ask())
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)
        end: asyncio.Future[AttemptEnd] = asyncio.get_running_loop().create_future()
        self._unasked[attempt_workflow_id(job)] = end
        return await end

    async def _ask(self) -> None:
        # All jobs that were carried over get their turn first, to be asked about together.
        await asyncio.sleep(0)
        awaited, self._unasked = self._unasked, {}
        while awaited:
            try:
                answer = await await_attempts(tuple(awaited))
            except ActivityError:
                workflow.logger.warning("Asking for the ends of attempts is begun anew")
                continue
            for end in answer.ends:
                awaited.pop(end.workflow_id).set_result(end)
