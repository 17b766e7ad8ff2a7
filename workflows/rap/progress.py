"""Where one job of a RAP stands, as its RAP keeps it."""

import asyncio
from dataclasses import dataclass, field

from temporalio import workflow

from rap.egress import Ending
from rap.messages.carried_over import JobState
from rap.messages.jobs import AttemptResult
from rap.messages.slots import SlotGrant, SlotHold, SlotRequest
from rap.models import ImageAnswer, JobSpec
from rap.rows import JobChange
from rap.safe_names import safe_name
from rap.sentences import CODE_SENTENCES, WAITING_HEAVY
from rap.status import StatusCode
from workflows.markdown import summary as named

_CARRIED = JobState.model_fields.keys() - {"granted", "is_pinned", "image_sha"}


@dataclass(eq=False)
class Progress:
    """One job: its code, its attempt, and what its task waits for."""

    position: int
    """Place in the RAP, dependencies first."""
    spec: JobSpec
    code: StatusCode = StatusCode.CREATED
    message: str = CODE_SENTENCES[StatusCode.CREATED]
    attempt: int = 1
    faults: int = 0
    """Attempts that failed for a reason that may pass."""
    interrupted_at: tuple[float, ...] = ()
    """When attempts were interrupted."""
    cancelled_by: str | None = None
    """Who had it cancelled; may be empty. ``None``: nobody has."""
    grant: SlotGrant | None = None
    pinned: ImageAnswer | None = None
    """What the tag of its image stands for, once that was asked for this attempt."""
    is_running: bool = False
    """Whether a workflow of its attempt was started, and its end is not yet known."""
    resume_at: float | None = None
    """When it may ask for a slot again, if it has to pause before."""
    is_queued: bool = False
    """Whether the job has asked for a slot and not got it yet."""
    image: str = ""
    """The key of the image that it runs; empty until that is known."""
    holds_slot: bool = False
    host: str = ""
    """Where the last attempt was started; empty if none was."""
    started: JobChange | None = None
    """The change with which its last attempt was started."""
    changed: JobChange | None = None
    """Its last change."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever something happened that the job's task may be waiting for."""

    @property
    def is_over(self) -> bool:
        """Whether the job has reached its end, though its container may still be winding down."""
        return self.code.is_final

    @property
    def began_at(self) -> float | None:
        """When the last attempt was started, if one was."""
        return self.started.at if self.started else None

    @property
    def ended_at(self) -> float | None:
        """When the job reached its end, if it has."""
        if self.changed is None or not self.is_over:
            return None
        given = self.changed.completed_at
        return self.changed.at if given is None else given

    def take(self, change: JobChange) -> None:
        """Take a change of the job for its state."""
        self.code, self.message, self.changed = change.code, change.message, change
        if change.code is StatusCode.INITIATED:
            self.started = change
        elif change.code.is_reset:
            self.started = None

    def start_over(self, result: AttemptResult) -> None:
        """Go on with the next attempt, after one that ended like this."""
        self.attempt += 1
        outcome = result.outcome
        if result.stopped is None and outcome is not None:
            if outcome.ending is Ending.INTERRUPTED:
                self.interrupted_at = (*self.interrupted_at, result.ended_at)
            elif not result.was_returned:
                self.faults += 1
        self.grant = self.pinned = None

    def carried_over(self) -> JobState:
        """All of it, for the next run of the workflow."""
        return JobState(
            attempt=self.attempt,
            faults=self.faults,
            interrupted_at=self.interrupted_at,
            changed=self.changed,
            started=self.started,
            cancelled_by=self.cancelled_by,
            is_queued=self.is_queued,
            granted=self.grant.host if self.grant else None,
            holds_slot=self.holds_slot,
            is_running=self.is_running,
            host=self.host,
            image=self.image,
            is_pinned=self.pinned is not None,
            image_sha=self.pinned.digest if self.pinned else None,
            resume_at=self.resume_at,
        )

    def resume(self, state: JobState) -> None:
        """Stand as an earlier run of the workflow left it."""
        if state.changed is not None:
            self.code, self.message = state.changed.code, state.changed.message
        for name in _CARRIED:
            setattr(self, name, getattr(state, name))
        if state.granted is not None:
            self.grant = SlotGrant(job_id=self.spec.id, attempt=state.attempt, host=state.granted)
        if state.is_pinned:
            self.pinned = ImageAnswer(digest=state.image_sha)

    async def wait(self, *, seconds: float | None = None, summary: str = "") -> None:
        """Wait until something happens to the job, or for some time; ``summary`` says what for."""
        self.wake.clear()
        timer = None
        if seconds is not None:
            # Not by a timeout: asyncio's has the tasks of a workflow go on in another order since
            # Python 3.12, and a history must replay with any Python.
            timer = asyncio.create_task(workflow.sleep(seconds, summary=named(summary)))
            timer.add_done_callback(self._time_is_over)
        try:
            # Not by a condition: Temporal's SDK looks at all of them at every step, and a RAP may
            # have thousands of jobs that wait.
            await self.wake.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _time_is_over(self, timer: asyncio.Task[None]) -> None:
        if not timer.cancelled():
            # One that is cancelled must not end the next wait.
            self.wake.set()

    def waiting_code(self, because: str = "") -> tuple[StatusCode, str]:
        """How a job that waits for a worker is shown (docs/spec/controller.md 9.4)."""
        needs_db = self.spec.requires_db
        code = StatusCode.WAITING_ON_DB_WORKERS if needs_db else StatusCode.WAITING_ON_WORKERS
        message = CODE_SENTENCES[code]
        if self.spec.weight > 1 and not needs_db:
            message = WAITING_HEAVY
        return code, f"{message} ({because})" if because else message

    def slot_request(self) -> SlotRequest:
        """What the backend needs to know to grant a slot."""
        spec = self.spec
        return SlotRequest(
            job_id=spec.id,
            workspace=spec.workspace,
            requires_db=spec.requires_db,
            weight=spec.weight,
            created_at=spec.created_at,
            position=self.position,
            attempt=self.attempt,
            action=safe_name(spec.action),
            image=self.image,
        )

    def slot_hold(self) -> SlotHold | None:
        """What the backend needs to know of a slot that was granted."""
        if self.grant is None or not (self.holds_slot or self.is_queued):
            return None
        return SlotHold(request=self.slot_request(), host=self.grant.host)

    @property
    def awaits_slot(self) -> bool:
        """Whether it waits for a slot that was not granted yet."""
        return self.is_queued and self.grant is None and not self.is_over

    @property
    def changes(self) -> tuple[JobChange, ...]:
        """What the read model should know of it, had it been told nothing."""
        return tuple(dict.fromkeys(one for one in (self.started, self.changed) if one is not None))
