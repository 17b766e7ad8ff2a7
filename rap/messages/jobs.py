"""What is said to and about one attempt at a job."""

from enum import StrEnum

from rap.egress import Ending, JobOutcome
from rap.models import INTERRUPTIONS_A_DAY, JobDefinition, Model
from rap.status import StatusCode


class StopReason(StrEnum):
    """Why a running job is stopped."""

    CANCELLED = "cancelled"
    MAINTENANCE = "maintenance"
    REBOOT = "reboot"
    HOST_LOST = "host_lost"
    KILLED_BY_ADMIN = "killed_by_admin"

    @property
    def requeues(self) -> bool:
        """Whether the job goes back to waiting instead of ending."""
        return self in (StopReason.MAINTENANCE, StopReason.REBOOT, StopReason.HOST_LOST)


class StopOrder(Model):
    """Stop the running attempt of a job."""

    reason: StopReason
    by: str = ""
    attempt: int | None = None
    """The only attempt that is meant; ``None``: whichever runs."""


class JobAttempt(Model):
    """The argument of a ``JobWorkflow``."""

    definition: JobDefinition
    attempt: int
    host: str
    faults: int = 0
    """Attempts before this one that failed for a transient fault."""
    interrupted_at: tuple[float, ...] = ()
    """When attempts before this one were interrupted, as far as it may still count."""
    interruptions_a_day: int = INTERRUPTIONS_A_DAY
    """How many of those a job may have."""


class AttemptResult(Model):
    """The end of a ``JobWorkflow``: its result, or in the error with which it failed."""

    outcome: JobOutcome | None = None
    stopped: StopReason | None = None
    code: StatusCode | None = None
    """What the attempt means for its job: a final code, or a reset code."""
    message: str = ""
    """The sentence for it."""
    attempt: int = 1
    began_at: float = 0.0
    """By the clock of Temporal, as the next."""
    ended_at: float = 0.0

    @property
    def was_returned(self) -> bool:
        """Whether the host gave the attempt back before a program was started."""
        return self.outcome is not None and self.outcome.ending is Ending.RETURNED


class AttemptQuestion(Model):
    """Ask for the latest attempt at a job."""

    workflow_id: str


class LatestAttempt(Model):
    """The latest attempt at a job, whether it runs or has ended; ``None``: there was none."""

    attempt: JobAttempt | None = None


class AttemptEnd(Model):
    """How the workflow of an attempt ended, as an activity found it."""

    workflow_id: str
    result: AttemptResult | None = None
    """``None`` if it did not tell."""
    killed: bool = False
    """Whether it told nothing because somebody ended it by hand."""


class AttemptEnds(Model):
    """Those of some attempts that have ended."""

    ends: tuple[AttemptEnd, ...] = ()


class TerminateOrder(Model):
    """Stop the container of a job at once, whatever else the host is doing."""

    job_id: str
    task_id: str


class DiscardOrder(Model):
    """Make sure that nothing of a stopped attempt is left over on its host."""

    definition: JobDefinition
