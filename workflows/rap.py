"""One job request: its jobs, who waits for whom, and what readers are told about each.

Every job has a task of its own that reads top to bottom in :meth:`RapWorkflow._run_job`: await the
dependencies, pin the image, ask for a slot, run an attempt, conclude, perhaps again.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
)

with workflow.unsafe.imports_passed_through():
    from activities.contracts import DISCARD_JOB
    from rap.egress import Fault
    from rap.messages import (
        Announce,
        AttemptResult,
        CancelOrder,
        DiscardOrder,
        JobAttempt,
        JobsFinished,
        RapStart,
        Reweigh,
        SlotGrant,
        SlotGrants,
        SlotHold,
        StopReason,
    )
    from rap.models import ImageAnswer
    from rap.rows import JobChange
    from rap.status import State, StatusCode
    from rap.temporal import STATUS_CODE
    from workflows.attempts import start_attempt, stop_attempt
    from workflows.calls import on_host
    from workflows.definition import image_of, job_definition
    from workflows.describe import rap_code, rap_details
    from workflows.images import ImageQuestions
    from workflows.outbox import settle
    from workflows.progress import Progress
    from workflows.rap_messages import RapMessages
    from workflows.results import (
        FIRST_PAUSE_S,
        LONGEST_PAUSE_S,
        Conclusion,
        conclude,
        failed_for,
        plain,
    )
    from workflows.weighing import weight_of


@workflow.defn(name="RapWorkflow")
class RapWorkflow:
    """Runs the jobs of one RAP; ends when all are final and everybody has been told."""

    @workflow.init
    def __init__(self, start: RapStart) -> None:
        self._start = start
        self._jobs = {spec.id: Progress(position, spec) for position, spec in enumerate(start.jobs)}
        self._states: dict[str, State] = {
            **start.awaited,
            **{spec.id: State.PENDING for spec in start.jobs},
        }
        self._dependants: dict[str, list[Progress]] = {}
        for job in self._jobs.values():
            for needed in job.spec.wait_for_job_ids:
                self._dependants.setdefault(needed, []).append(job)
        self._images = ImageQuestions()
        self._stopping: set[asyncio.Task[None]] = set()
        self._messages = RapMessages(
            start,
            is_over=lambda job_id: self._jobs[job_id].is_over,
            is_done=lambda: all(job.is_over for job in self._jobs.values()),
            describe=self._describe,
        )

    @workflow.run
    async def run(self, start: RapStart) -> None:  # noqa: ARG002 - taken by __init__
        """Run all jobs."""
        deliveries = self._messages.deliver()
        jobs = asyncio.gather(*(self._run_job(job) for job in self._jobs.values()))
        try:
            await asyncio.shield(jobs)
        except asyncio.CancelledError:
            # Cancelled in the Web UI: the same as cancelling every job.
            self.cancel(CancelOrder(job_ids=tuple(self._jobs), at=_now(), by="administrator"))
            await jobs
        await settle(
            lambda: (
                self._messages.are_delivered
                and not self._stopping
                and workflow.all_handlers_finished()
            ),
            deliveries,
        )
        if self._start.tells_status:
            code = rap_code(job.code for job in self._jobs.values())
            workflow.upsert_search_attributes([STATUS_CODE.value_set(code.value)])
        for task in deliveries:
            task.cancel()

    # --- what others tell us ---

    @workflow.signal
    def cancel(self, order: CancelOrder) -> None:
        """Cancel jobs; those that are over stay as they are."""
        for job_id in order.job_ids:
            job = self._jobs.get(job_id)
            if job is None or job.is_over:
                continue
            job.cancelled = order
            self._conclude(job, plain(StatusCode.CANCELLED_BY_USER), completed_at=order.at)
            if job.child is not None:
                stopping = asyncio.create_task(stop_attempt(job.child, order))
                self._stopping.add(stopping)
                stopping.add_done_callback(self._stopping.discard)

    @workflow.signal
    def granted(self, message: SlotGrants) -> None:
        """Take the slots granted to this RAP; one that nobody waits for goes back."""
        for grant in message.grants:
            job = self._jobs.get(grant.job_id)
            if job is None or job.is_over:
                self._messages.release_slot(grant.job_id)
            elif grant.attempt == job.attempt and job.grant is None:
                job.grant = grant
                job.wake.set()

    @workflow.signal
    def dependencies_finished(self, message: JobsFinished) -> None:
        """Learn how jobs of other RAPs ended that jobs of this one wait for."""
        for job_id, state in message.states.items():
            if job_id in self._dependants and job_id not in self._jobs:
                self._set_state(job_id, state)

    @workflow.signal
    def reweigh(self, message: Reweigh) -> None:
        """Take the new weights of the backend's jobs for whatever does not run yet."""
        for job in self._jobs.values():
            weight = weight_of(job.spec, message.weights)
            if job.is_over or weight == job.spec.weight:
                continue
            job.spec = job.spec.model_copy(update={"weight": weight})
            if job.is_queued:
                self._messages.request_slot(job.slot_request())

    @workflow.signal
    def announce(self, question: Announce) -> None:  # noqa: ARG002 - every message has an argument
        """Tell the backend which jobs use a slot and which wait for one."""
        self._messages.announce(
            holds=tuple(
                SlotHold(request=job.slot_request(), host=job.grant.host)
                for job in self._jobs.values()
                if job.holds_slot and job.grant is not None
            ),
            requests=tuple(job.slot_request() for job in self._jobs.values() if job.is_queued),
        )

    @workflow.query
    def status(self) -> dict[str, StatusCode]:
        """Show the status code of every job, by action."""
        return {job.spec.action: job.code for job in self._jobs.values()}

    # --- the life of one job ---

    async def _run_job(self, job: Progress) -> None:
        if not await self._dependencies_succeed(job):
            return
        while not job.is_over:
            image = await self._pin_image(job)
            if image is None:
                break
            grant = await self._get_slot(job)
            if grant is None:
                break
            result = await self._run_attempt(job, grant, image)
            self._messages.release_slot(job.spec.id)
            job.holds_slot = False
            if job.is_over:
                break
            conclusion = conclude(result, requires_db=job.spec.requires_db, faults=job.faults)
            job.grant, job.child = None, None
            if not conclusion.is_final:
                job.start_over(after_fault=result.stopped is None)
            self._conclude(job, conclusion, result=result)
            if conclusion.pause_s:
                await job.wait(
                    seconds=conclusion.pause_s, summary=f"{job.spec.action}: before a new attempt"
                )

    async def _dependencies_succeed(self, job: Progress) -> bool:
        """Wait for the jobs this one needs; false if it will never start."""
        waited = False
        while not job.is_over:
            states = [self._states.get(needed) for needed in job.spec.wait_for_job_ids]
            if State.FAILED in states:
                self._conclude(job, plain(StatusCode.DEPENDENCY_FAILED))
            elif any(state is not None and state.is_active for state in states):
                if not waited:
                    self._enter(job, StatusCode.WAITING_ON_DEPENDENCIES)
                    waited = True
                await job.wait()
            else:
                return True
        return False

    async def _pin_image(self, job: Progress) -> ImageAnswer | None:
        """Find out which image the job's tag stands for; nothing if the job is over instead.

        A registry that does not answer holds up this job alone, and says so in its message.
        """
        if not self._start.pins_images:
            # Whatever the tag names on the host.
            return ImageAnswer()
        pause = FIRST_PAUSE_S
        while not job.is_over:
            try:
                answer = await self._images.ask(image_of(job.spec, self._start.image_registry))
            except ActivityError:
                self._enter(job, *job.waiting_code("the image registry does not answer"))
                await job.wait(seconds=pause, summary=f"{job.spec.action}: ask the registry again")
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            if answer.digest is not None:
                return answer
            if not job.is_over:
                self._conclude(job, failed_for(Fault.IMAGE_UNAVAILABLE))
        return None

    async def _get_slot(self, job: Progress) -> SlotGrant | None:
        """Ask the backend for a slot and wait for it; nothing if the job was cancelled first."""
        self._messages.request_slot(job.slot_request())
        job.is_queued = True
        if not job.code.is_reset:
            self._enter(job, *job.waiting_code())
        while job.grant is None and not job.is_over:
            await job.wait()
        job.is_queued = False
        if job.is_over:
            self._messages.release_slot(job.spec.id)
            return None
        job.holds_slot = True
        return job.grant

    async def _run_attempt(
        self, job: Progress, grant: SlotGrant, image: ImageAnswer
    ) -> AttemptResult:
        """Run one attempt as a child workflow, and pass a cancel on to it."""
        definition = job_definition(
            job.spec,
            attempt=job.attempt,
            limits=self._start.limits,
            image_registry=self._start.image_registry,
            image_sha=image.digest,
            job_env=self._start.job_env,
        )
        self._enter(job, StatusCode.INITIATED)
        attempt = JobAttempt(
            definition=definition, attempt=job.attempt, host=grant.host, faults=job.faults
        )
        try:
            with self._messages.starting_work():
                job.child = await start_attempt(job.spec, attempt)
            job.host = grant.host
            if job.cancelled is not None:
                await stop_attempt(job.child, job.cancelled)
            return await job.child
        except ChildWorkflowError as error:
            await on_host(
                DISCARD_JOB,
                DiscardOrder(definition=definition),
                backend=job.spec.backend,
                host=grant.host,
            )
            killed = isinstance(error.cause, TerminatedError | CancelledError)
            return AttemptResult(stopped=StopReason.KILLED_BY_ADMIN if killed else None)

    # --- what we tell others ---

    def _enter(self, job: Progress, code: StatusCode, message: str = "") -> None:
        """Record a code that is on the way."""
        job.code = code
        self._record(job, code, message or code.message)

    def _conclude(
        self,
        job: Progress,
        conclusion: Conclusion,
        *,
        completed_at: float | None = None,
        result: AttemptResult | None = None,
    ) -> None:
        """Record the end of a job or of an attempt, and tell those who wait for the job."""
        job.code = conclusion.code
        self._record(
            job, conclusion.code, conclusion.message, completed_at=completed_at, result=result
        )
        if conclusion.is_final:
            self._set_state(job.spec.id, conclusion.code.state)
            self._messages.finish(job.spec.id, conclusion.code.state)
            job.wake.set()

    def _record(
        self,
        job: Progress,
        code: StatusCode,
        message: str,
        *,
        completed_at: float | None = None,
        result: AttemptResult | None = None,
    ) -> None:
        outcome = result.outcome if result else None
        job.message = message
        self._messages.record(
            JobChange(
                job_id=job.spec.id,
                attempt=job.attempt,
                code=code,
                message=message,
                at=_now(),
                completed_at=completed_at,
                metrics=outcome.metrics if outcome else None,
                exit_code=outcome.exit_code if outcome else None,
                image_id=outcome.image_id if outcome else None,
            )
        )

    def _describe(self) -> str:
        return rap_details(
            self._start.backend,
            [job.line for job in self._jobs.values()],
            namespace=workflow.info().namespace,
        )

    def _set_state(self, job_id: str, state: State) -> None:
        self._states[job_id] = state
        for dependant in self._dependants.get(job_id, ()):
            dependant.wake.set()


def _now() -> float:
    return workflow.now().timestamp()
