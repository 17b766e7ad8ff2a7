"""One job request: its jobs, who waits for whom, and what readers are told about each.

Every job has a task of its own that reads top to bottom in :meth:`RapWorkflow._run_job`: await the
dependencies, ask for a slot, run an attempt, conclude, perhaps again.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    ChildWorkflowError,
    TerminatedError,
)
from temporalio.workflow import ChildWorkflowHandle, ParentClosePolicy

with workflow.unsafe.imports_passed_through():
    from activities.contracts import DISCARD_JOB, RECORD_JOBS, RESOLVE_IMAGE
    from rap import ids
    from rap.egress import Fault
    from rap.messages import (
        AttemptResult,
        CancelOrder,
        DiscardOrder,
        JobAttempt,
        JobsFinished,
        RapStart,
        SlotDelta,
        SlotGrant,
        SlotGrants,
        SlotRequest,
        StopOrder,
        StopReason,
    )
    from rap.models import ImageAnswer, ImageRequest, JobSpec
    from rap.rows import JobChange, JobChanges, RapRows
    from rap.status import WAITING_HEAVY, State, StatusCode
    from rap.temporal import search_attributes
    from workflows.calls import on_controller, on_host, on_records, tell
    from workflows.definition import image_of, job_definition
    from workflows.describe import job_details, rap_details
    from workflows.job import JobWorkflow
    from workflows.outbox import Outbox, settle
    from workflows.results import (
        FIRST_PAUSE_S,
        LONGEST_PAUSE_S,
        Conclusion,
        conclude,
        failed_for,
    )
    from workflows.rows import rap_rows


class Progress:
    """Where one job of the RAP stands."""

    def __init__(self, position: int, spec: JobSpec) -> None:
        self.position = position
        self.spec = spec
        self.code = StatusCode.CREATED
        self.attempt = 1
        self.faults = 0
        self.cancelled: CancelOrder | None = None
        self.grant: SlotGrant | None = None
        self.child: ChildWorkflowHandle[JobWorkflow, AttemptResult] | None = None
        self.wake = asyncio.Event()
        """Set whenever something happened that the job's task may be waiting for."""


@dataclass(frozen=True)
class PinnedImage:
    """The image of an attempt: by digest, or whatever the tag names on the host."""

    digest: str | None


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
        self._unrecorded: RapRows | None = rap_rows(start.rap_id, start.jobs)
        self._requesting = 0
        self._starting = 0
        self._backend_is_away = False
        self._asking: dict[str, asyncio.Task[ImageAnswer]] = {}
        self._stopping: set[asyncio.Task[None]] = set()
        self._records = Outbox(self._record)
        self._slots = Outbox(self._send_slots)
        self._notices = Outbox(self._send_notices)

    @workflow.run
    async def run(self, start: RapStart) -> None:  # noqa: ARG002 - taken by __init__
        """Run all jobs."""
        deliveries = [
            asyncio.create_task(box.run()) for box in (self._records, self._slots, self._notices)
        ]
        jobs = asyncio.gather(*(self._run_job(job) for job in self._jobs.values()))
        try:
            await asyncio.shield(jobs)
        except asyncio.CancelledError:
            # Cancelled in the Web UI: the same as cancelling every job.
            self.cancel(CancelOrder(job_ids=tuple(self._jobs), at=_now(), by="administrator"))
            await jobs
        # A message still on its way when a workflow ends is dropped, and a slot would leak.
        await settle(self._all_told, deliveries)
        for task in deliveries:
            task.cancel()

    # --- what others tell us ---

    @workflow.signal
    def cancel(self, order: CancelOrder) -> None:
        """Cancel jobs; those that are over stay as they are."""
        for job_id in order.job_ids:
            job = self._jobs.get(job_id)
            if job is None or job.code.is_final:
                continue
            job.cancelled = order
            self._conclude(
                job,
                Conclusion(
                    code=StatusCode.CANCELLED_BY_USER,
                    message=StatusCode.CANCELLED_BY_USER.message,
                ),
                at=order.at,
            )

    @workflow.signal
    def granted(self, message: SlotGrants) -> None:
        """Take the slots granted to this RAP; one that nobody waits for goes back."""
        for grant in message.grants:
            job = self._jobs.get(grant.job_id)
            if job is None or job.code.is_final:
                self._slots.put(SlotDelta(rap_id=self._start.rap_id, releases=(grant.job_id,)))
            elif grant.attempt == job.attempt and job.grant is None:
                job.grant = grant
                job.wake.set()

    @workflow.signal
    def dependencies_finished(self, message: JobsFinished) -> None:
        """Learn how jobs of other RAPs ended that jobs of this one wait for."""
        for job_id, state in message.states.items():
            if job_id in self._dependants and job_id not in self._jobs:
                self._set_state(job_id, state)

    @workflow.query
    def status(self) -> dict[str, StatusCode]:
        """Show the status code of every job, by action."""
        return {job.spec.action: job.code for job in self._jobs.values()}

    # --- the life of one job ---

    async def _run_job(self, job: Progress) -> None:
        if not await self._dependencies_succeed(job):
            return
        while not job.code.is_final:
            image = await self._pin_image(job)
            if image is None:
                break
            grant = await self._get_slot(job)
            if grant is None:
                break
            result = await self._run_attempt(job, grant, image)
            self._slots.put(SlotDelta(rap_id=self._start.rap_id, releases=(job.spec.id,)))
            if job.code.is_final:
                break
            conclusion = conclude(result, requires_db=job.spec.requires_db, faults=job.faults)
            job.grant, job.child = None, None
            if not conclusion.is_final:
                job.attempt += 1
                job.faults += result.stopped is None
            self._conclude(job, conclusion, result=result)
            if conclusion.pause_s:
                await self._wait(job, seconds=conclusion.pause_s)

    async def _dependencies_succeed(self, job: Progress) -> bool:
        """Wait for the jobs this one needs; false if it will never start."""
        waited = False
        while not job.code.is_final:
            states = [self._states.get(needed) for needed in job.spec.wait_for_job_ids]
            if State.FAILED in states:
                self._conclude(
                    job,
                    Conclusion(
                        code=StatusCode.DEPENDENCY_FAILED,
                        message=StatusCode.DEPENDENCY_FAILED.message,
                    ),
                )
            elif any(state is not None and state.is_active for state in states):
                if not waited:
                    self._enter(job, StatusCode.WAITING_ON_DEPENDENCIES)
                    waited = True
                await self._wait(job)
            else:
                return True
        return False

    async def _pin_image(self, job: Progress) -> PinnedImage | None:
        """Find out which image the job's tag stands for; nothing if the job is over instead.

        A registry that does not answer holds up this job alone, and says so in its message.
        """
        image = image_of(job.spec, self._start.image_registry)
        if not self._start.pins_images:
            return PinnedImage(digest=None)
        pause = FIRST_PAUSE_S
        while not job.code.is_final:
            try:
                answer = await self._ask_registry(image)
            except ActivityError:
                self._enter_waiting(job, because="the image registry does not answer")
                await self._wait(job, seconds=pause)
                pause = min(pause * 2, LONGEST_PAUSE_S)
                continue
            if answer.digest is not None:
                return PinnedImage(digest=answer.digest)
            if not job.code.is_final:
                self._conclude(job, failed_for(Fault.IMAGE_UNAVAILABLE))
        return None

    async def _ask_registry(self, image: str) -> ImageAnswer:
        """One question for all jobs of the RAP that need the same image at the same time."""
        asking = self._asking.get(image)
        if asking is None:
            asking = asyncio.create_task(
                on_controller(
                    RESOLVE_IMAGE,
                    ImageRequest(image=image),
                    limit=timedelta(seconds=60),
                    summary=f"digest of {image}",
                )
            )
            self._asking[image] = asking
            asking.add_done_callback(lambda _: self._asking.pop(image))
        return await asyncio.shield(asking)

    async def _get_slot(self, job: Progress) -> SlotGrant | None:
        """Ask the backend for a slot and wait for it; nothing if the job was cancelled first."""
        spec = job.spec
        self._requesting += 1
        self._slots.put(
            SlotDelta(
                rap_id=self._start.rap_id,
                requests=(
                    SlotRequest(
                        job_id=spec.id,
                        workspace=spec.workspace,
                        requires_db=spec.requires_db,
                        weight=spec.weight,
                        created_at=spec.created_at,
                        position=job.position,
                        attempt=job.attempt,
                    ),
                ),
            )
        )
        if not job.code.is_reset:
            self._enter_waiting(job)
        while job.grant is None and not job.code.is_final:
            await self._wait(job)
        if job.code.is_final:
            self._slots.put(SlotDelta(rap_id=self._start.rap_id, releases=(spec.id,)))
            return None
        return job.grant

    async def _run_attempt(
        self, job: Progress, grant: SlotGrant, image: PinnedImage
    ) -> AttemptResult:
        """Run one attempt as a child workflow, and pass a cancel on to it."""
        spec = job.spec
        definition = job_definition(
            spec,
            attempt=job.attempt,
            limits=self._start.limits,
            image_registry=self._start.image_registry,
            image_sha=image.digest,
            job_env=self._start.job_env,
        )
        self._enter(job, StatusCode.INITIATED)
        attempt = JobAttempt(definition=definition, attempt=job.attempt, host=grant.host)
        try:
            job.child = await self._start_child(spec, attempt)
            if job.cancelled is not None:
                await self._stop(job)
            return await job.child
        except ChildWorkflowError as error:
            await on_host(
                DISCARD_JOB,
                DiscardOrder(definition=definition),
                backend=spec.backend,
                host=grant.host,
            )
            killed = isinstance(error.cause, TerminatedError | CancelledError)
            return AttemptResult(stopped=StopReason.KILLED_BY_ADMIN if killed else None)

    async def _start_child(
        self, spec: JobSpec, attempt: JobAttempt
    ) -> ChildWorkflowHandle[JobWorkflow, AttemptResult]:
        self._starting += 1
        try:
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
                static_summary=f"{spec.action} of {spec.workspace}"[:200],
                static_details=job_details(spec, attempt),
            )
        finally:
            self._starting -= 1

    async def _stop(self, job: Progress) -> None:
        """Tell the running attempt to stop; one that has just ended needs no telling."""
        if job.child is None or job.cancelled is None:
            return
        try:
            await job.child.signal(
                JobWorkflow.stop,
                StopOrder(reason=StopReason.CANCELLED, by=job.cancelled.by),
            )
        except ApplicationError:
            workflow.logger.info("Job %s ended before its cancel arrived", job.spec.id)

    async def _wait(self, job: Progress, *, seconds: float | None = None) -> None:
        """Wait until something happens to the job, or for some time."""
        job.wake.clear()
        try:
            await asyncio.wait_for(job.wake.wait(), seconds)
        except TimeoutError:
            return

    # --- what we tell others ---

    def _enter_waiting(self, job: Progress, *, because: str = "") -> None:
        """Record that a job waits for a worker, and what else it waits for."""
        code, message = StatusCode.WAITING_ON_WORKERS, StatusCode.WAITING_ON_WORKERS.message
        if job.spec.requires_db:
            code = StatusCode.WAITING_ON_DB_WORKERS
            message = code.message
        elif job.spec.weight > 1:
            message = WAITING_HEAVY
        self._enter(job, code, message=f"{message} ({because})" if because else message)

    def _enter(self, job: Progress, code: StatusCode, *, message: str | None = None) -> None:
        """Record a code that is on the way."""
        job.code = code
        self._records.put(
            JobChange(
                job_id=job.spec.id,
                attempt=job.attempt,
                code=code,
                message=message or code.message,
                at=_now(),
            )
        )

    def _conclude(
        self,
        job: Progress,
        conclusion: Conclusion,
        *,
        at: float | None = None,
        result: AttemptResult | None = None,
    ) -> None:
        """Record the end of a job or of an attempt, and tell those who wait for the job."""
        was_running = job.child is not None
        job.code = conclusion.code
        self._records.put(
            JobChange(
                job_id=job.spec.id,
                attempt=job.attempt,
                code=conclusion.code,
                message=conclusion.message,
                at=_now(),
                completed_at=at,
                metrics=result.outcome.metrics if result and result.outcome else None,
            )
        )
        if conclusion.is_final:
            self._set_state(job.spec.id, conclusion.code.state)
            self._notices.put((job.spec.id, conclusion.code.state))
            if was_running and job.cancelled is not None:
                stopping = asyncio.create_task(self._stop(job))
                self._stopping.add(stopping)
                stopping.add_done_callback(self._stopping.discard)
            job.wake.set()

    def _set_state(self, job_id: str, state: State) -> None:
        self._states[job_id] = state
        for dependant in self._dependants.get(job_id, ()):
            dependant.wake.set()

    async def _record(self, changes: list[JobChange]) -> None:
        # A write takes its time within the workflow task, and nothing else leaves before that is
        # over: so what lets work go on leaves first.
        await workflow.wait_condition(lambda: not self._is_starting_work)
        # The first write carries the rows of all jobs, so that they appear together whoever of
        # this workflow and its workspace writes first.
        created, self._unrecorded = self._unrecorded, None
        workflow.set_current_details(rap_details(self._start, self.status()))
        await on_records(RECORD_JOBS, JobChanges(created=created, changes=tuple(changes)))

    async def _send_slots(self, deltas: list[SlotDelta]) -> None:
        # The backend takes the releases of a message before its requests, so that a job may leave
        # and come back in one.
        await tell(
            ids.backend_workflow_id(self._start.backend),
            "slots",
            SlotDelta(
                rap_id=self._start.rap_id,
                requests=tuple(
                    request
                    for delta in deltas
                    for request in delta.requests
                    if not self._jobs[request.job_id].code.is_final
                ),
                releases=tuple(sorted({job for delta in deltas for job in delta.releases})),
            ),
            on_failure=self._note_backend_away,
        )
        self._backend_is_away = False
        self._requesting -= sum(len(delta.requests) for delta in deltas)

    async def _send_notices(self, finished: list[tuple[str, State]]) -> None:
        await tell(
            ids.workspace_workflow_id(self._start.backend, self._start.workspace),
            "jobs_finished",
            JobsFinished(
                rap_id=self._start.rap_id,
                states=dict(finished),
                rap_done=all(job.code.is_final for job in self._jobs.values()),
            ),
            attempts=10,
        )

    @property
    def _is_starting_work(self) -> bool:
        return self._starting > 0 or (self._requesting > 0 and not self._backend_is_away)

    def _note_backend_away(self) -> None:
        self._backend_is_away = True

    def _all_told(self) -> bool:
        return (
            self._records.is_empty
            and self._slots.is_empty
            and self._notices.is_empty
            and not self._stopping
            and workflow.all_handlers_finished()
        )


def _now() -> float:
    return workflow.now().timestamp()
