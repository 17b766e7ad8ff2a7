"""One job request: its jobs, who waits for whom, and what readers are told about each.

Every job has a task of its own that reads top to bottom in :meth:`RapWorkflow._run_job`: await the
dependencies, pin the image, ask for a slot, run an attempt, conclude, perhaps again.

A long history is left behind: the workflow continues as new with all that it knows, at any moment
but while it starts or clears away an attempt. What runs goes on meanwhile.
"""

import asyncio
from collections.abc import Callable, Sequence

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from rap.contracts import workflows as contracts
    from rap.ids import image_key
    from rap.messages.carried_over import RapState
    from rap.messages.jobs import AttemptResult
    from rap.messages.orders import LostHost
    from rap.messages.slots import Announce, Reweigh, SlotGrant, SlotGrants
    from rap.messages.workspaces import CancelOrder, JobsFinished, RapEnd, RapStart
    from rap.rows import JobChange, JobChanges
    from rap.sentences import CODE_SENTENCES
    from rap.status import State, StatusCode
    from rap.temporal.ends import failed_end
    from rap.temporal.search_attributes import STATUS_CODE
    from workflows.job.conclusion import conclude, that_count
    from workflows.job.definition import image_of
    from workflows.job.weight import weight_of
    from workflows.outbox import settle
    from workflows.rap.attempts import Attempts
    from workflows.rap.cancel import jobs_to_cancel
    from workflows.rap.dependencies import Dependencies
    from workflows.rap.end import NO_FAILURES, failure_sentence, rap_code, rap_end
    from workflows.rap.messages import RapMessages
    from workflows.rap.pinning import Pinning
    from workflows.rap.progress import Progress
    from workflows.rap.start import next_start
    from workflows.rap.texts import rap_details
    from workflows.rows import rap_rows
    from workflows.run_length import CHANGED, SENT, TOLD, RunLength


@workflow.defn(name=contracts.RAP.name)
class RapWorkflow:
    """Runs the jobs of one RAP; ends when all are final and everybody has been told.

    It closes as Failed if any of its jobs failed.
    """

    @workflow.init
    def __init__(self, start: RapStart) -> None:
        self._start, self._length = start, RunLength(start.longest_history)
        self._jobs = {spec.id: Progress(position, spec) for position, spec in enumerate(start.jobs)}
        if start.state is not None:
            for job, state in zip(self._jobs.values(), start.state.jobs, strict=True):
                job.resume(state)
        self._dependencies = Dependencies(self._jobs, start.awaited)
        self._pinning = Pinning(start, enter=self._enter)
        self._messages = RapMessages(
            start,
            is_over=lambda job_id: self._jobs[job_id].is_over,
            is_done=lambda: all(job.is_over for job in self._jobs.values()),
            describe=self._describe,
        )
        self._attempts = Attempts(
            start,
            self._messages,
            on_start=lambda job: self._enter(job, StatusCode.INITIATED),
        )

    @workflow.run
    async def run(self, start: RapStart) -> RapEnd:  # noqa: ARG002 - taken by __init__
        """Run all jobs.

        Raises:
            ApplicationError: a job failed; the error carries the same end.
        """
        deliveries = self._messages.deliver()
        if self._start.state is not None:
            self._take_up(self._start.state)
        jobs = asyncio.gather(*(self._run_job(job) for job in self._jobs.values()))

        def is_over() -> bool:
            return (
                jobs.done()
                and self._messages.are_delivered
                and not self._attempts.is_stopping
                and workflow.all_handlers_finished()
            )

        await self._until(lambda: is_over() or self._history_is_long(), deliveries)
        self._attempts.leave()
        self._messages.leave()
        await self._until(lambda: is_over() or not self._is_amid_something, deliveries)
        if not is_over():
            # What is under way is left alone: a message that is cancelled is taken for one that
            # could not be delivered.
            workflow.continue_as_new(self._carried_over())
        for task in deliveries:
            task.cancel()
        jobs.result()
        return self._end()

    async def _until(
        self, condition: Callable[[], bool], deliveries: Sequence[asyncio.Task[None]]
    ) -> None:
        try:
            await settle(condition, deliveries)
        except asyncio.CancelledError:
            # Cancelled in the Web UI: the same as cancelling every job.
            self.cancel(CancelOrder(job_ids=tuple(self._jobs), by="administrator"))
            await settle(condition, deliveries)

    def _end(self) -> RapEnd:
        jobs = self._jobs.values()
        code, end = rap_code(job.code for job in jobs), rap_end(jobs)
        workflow.upsert_search_attributes([STATUS_CODE.value_set(code.value)])
        if code not in NO_FAILURES:
            raise failed_end(failure_sentence(jobs, code), code, end)
        return end

    # --- from run to run ---

    def _history_is_long(self) -> bool:
        if not self._messages.is_abreast:
            # While the read model is away little happens; what is yet to be written is not carried.
            return False
        return self._length.is_long

    @property
    def _is_amid_something(self) -> bool:
        """Whether a step is under way that one run has to carry to its end."""
        return not self._messages.may_leave or self._attempts.is_clearing

    def _carried_over(self) -> RapStart:
        jobs = self._jobs.values()
        return next_start(
            self._start,
            jobs=tuple(job.spec for job in jobs),
            awaited=self._dependencies.awaited,
            state=self._messages.carried_over(tuple(job.carried_over() for job in jobs)),
        )

    def _take_up(self, state: RapState) -> None:
        """Tell again what an earlier run may not have told."""
        workflow.set_current_details(self._describe())
        if state.owes_slots:
            self._announce()
        for job in self._jobs.values():
            if job.is_running and job.cancelled_by is not None:
                self._attempts.stop(job)

    # --- what others tell us ---

    @workflow.signal(name=contracts.CANCEL.name)
    def cancel(self, order: CancelOrder) -> None:
        """Cancel jobs, and stop the attempts at them."""
        for job in jobs_to_cancel(self._jobs, order):
            job.cancelled_by = order.by
            self._enter(job, StatusCode.CANCELLED_BY_USER, completed_at=order.at or None)
            if job.is_running:
                self._attempts.stop(job)

    @workflow.signal(name=contracts.GRANTED.name)
    def granted(self, message: SlotGrants) -> None:
        """Take the slots granted to this RAP; one that nobody waits for goes back."""
        for grant in message.grants:
            job = self._jobs.get(grant.job_id)
            if job is None or job.is_over:
                self._messages.release_slot(grant.job_id)
            elif grant.attempt >= job.attempt and job.grant is None:
                # For a later attempt if this workflow was reset: what became of the earlier ones is
                # found out when the next is to be started.
                job.grant = grant
                job.wake.set()

    @workflow.signal(name=contracts.DEPENDENCIES_FINISHED.name)
    def dependencies_finished(self, message: JobsFinished) -> None:
        """Learn how jobs of other RAPs ended that jobs of this one wait for."""
        self._dependencies.learn(message.states)

    @workflow.signal(name=contracts.REWEIGH.name)
    def reweigh(self, message: Reweigh) -> None:
        """Take the new weights of the backend's jobs for whatever does not run yet."""
        self._length.add(TOLD + SENT)
        for job in self._jobs.values():
            weight = weight_of(job.spec, message.weights)
            if job.is_over or weight == job.spec.weight:
                continue
            job.spec = job.spec.model_copy(update={"weight": weight})
            if job.is_queued:
                self._messages.request_slot(job.slot_request())

    @workflow.signal(name=contracts.ANNOUNCE.name)
    def announce(self, question: Announce) -> None:  # noqa: ARG002 - every message has an argument
        """Tell the backend which jobs use a slot and which wait for one."""
        self._announce()

    def _announce(self) -> None:
        self._length.add(TOLD + SENT)
        jobs = self._jobs.values()
        holds = (job.slot_hold() for job in jobs)
        self._messages.announce(
            holds=tuple(hold for hold in holds if hold is not None),
            requests=tuple(job.slot_request() for job in jobs if job.awaits_slot),
        )

    @workflow.signal(name=contracts.RAP_HOST_LOST.name)
    def host_lost(self, lost: LostHost) -> None:
        """Wait no longer for a host that will not come back; its jobs are told by the backend."""
        self._attempts.give_up_host(lost.host)

    @workflow.query(name=contracts.RAP_STATUS.name)
    def status(self) -> dict[str, StatusCode]:
        """Show the status code of every job, by action."""
        return {job.spec.action: job.code for job in self._jobs.values()}

    @workflow.query(name=contracts.RAP_ROWS.name)
    def rows(self) -> JobChanges:
        """Tell all that the read model should know of the jobs."""
        changes = (change for job in self._jobs.values() for change in job.changes)
        return JobChanges(
            created=rap_rows(self._start.rap_id, self._start.jobs), changes=tuple(changes)
        )

    # --- the life of one job ---

    async def _run_job(self, job: Progress) -> None:
        if job.is_running:
            await self._conclude(job, await self._attempts.end_of_earlier(job))
        elif job.is_over:
            self._give_back(job)
            return
        elif not await self._dependencies_succeed(job):
            return
        while not job.is_over:
            if job.resume_at is not None:
                await job.wait(
                    seconds=max(0.0, job.resume_at - workflow.time()),
                    summary=f"{job.spec.action}: before a new attempt",
                )
                job.resume_at = None
                continue
            job.pinned = job.pinned or await self._pinning.pin(job)
            if job.pinned is None:
                break
            image = image_of(job.spec, self._start.image_registry)
            job.image = image_key(image, job.pinned.digest)
            grant = await self._get_slot(job)
            if grant is None:
                break
            await self._attempts.may_start()
            if job.is_over:
                break
            await self._conclude(job, await self._attempts.run(job, grant, job.pinned))
        self._give_back(job)

    def _give_back(self, job: Progress) -> None:
        """Of a job that is over: its slot, and its place in the queue."""
        if job.is_queued or job.holds_slot:
            job.is_queued = job.holds_slot = False
            self._messages.release_slot(job.spec.id)

    async def _conclude(self, job: Progress, result: AttemptResult) -> None:
        """Give the slot back, and see whether the job is over or goes on with a new attempt."""
        job.is_running = False
        self._give_back(job)
        if job.is_over:
            return
        conclusion = conclude(
            result,
            requires_db=job.spec.requires_db,
            faults=job.faults,
            attempt=job.attempt,
            interruptions=that_count(job.interrupted_at, result.ended_at),
            interruptions_a_day=self._start.interruptions_a_day,
        )
        if not conclusion.code.is_final:
            job.start_over(result)
        self._enter(job, conclusion.code, conclusion.message, result=result)
        if conclusion.pause_s:
            job.resume_at = workflow.time() + conclusion.pause_s

    async def _dependencies_succeed(self, job: Progress) -> bool:
        """Wait for the jobs this one needs; false if it will never start."""
        while not job.is_over:
            states = self._dependencies.states_needed_by(job)
            if State.FAILED in states:
                self._enter(job, StatusCode.DEPENDENCY_FAILED)
            elif any(state is not None and state.is_active for state in states):
                if job.code is not StatusCode.WAITING_ON_DEPENDENCIES:
                    self._enter(job, StatusCode.WAITING_ON_DEPENDENCIES)
                await job.wait()
            else:
                return True
        return False

    async def _get_slot(self, job: Progress) -> SlotGrant | None:
        """Ask the backend for a slot and wait for it; nothing if the job was cancelled first."""
        if job.grant is None and not job.is_queued:
            self._messages.request_slot(job.slot_request())
            job.is_queued = True
            if not job.code.is_reset:
                self._enter(job, *job.waiting_code())
        while job.grant is None and not job.is_over:
            await job.wait()
        if job.is_over:
            return None
        job.is_queued, job.holds_slot = False, True
        return job.grant

    # --- what we tell others ---

    def _enter(
        self,
        job: Progress,
        code: StatusCode,
        message: str = "",
        *,
        completed_at: float | None = None,
        result: AttemptResult | None = None,
    ) -> None:
        """Record a code, and the attempt that it ends; tell those who wait if the job is over.

        An end is final: what is found out after it changes nothing.
        """
        if job.is_over:
            return
        outcome = result.outcome if result else None
        change = JobChange(
            job_id=job.spec.id,
            attempt=job.attempt,
            code=code,
            message=message or CODE_SENTENCES[code],
            at=workflow.time(),
            completed_at=completed_at,
            metrics=outcome.metrics if outcome else None,
            exit_code=outcome.exit_code if outcome else None,
            image_id=outcome.image_id if outcome else None,
        )
        job.take(change)
        self._length.add(CHANGED)
        self._messages.record(change)
        if job.is_over:
            self._dependencies.reach(job.spec.id, code.state)
            job.wake.set()

    def _describe(self) -> str:
        return rap_details(
            self._start.backend,
            self._jobs.values(),
            namespace=workflow.info().namespace,
            # The page of a run that continues has nothing but this text.
            about=self._start.about if self._start.state else "",
        )
