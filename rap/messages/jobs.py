"""What is said to and about one attempt at a job."""

from enum import StrEnum

from rap.egress import JobOutcome
from rap.models import JobDefinition, Model


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


class JobAttempt(Model):
    """The argument of a ``JobWorkflow``."""

    definition: JobDefinition
    attempt: int
    host: str
    faults: int | None = None
    """Attempts before this one that failed for a transient fault; ``None`` for an attempt of an
    earlier version, whose end is not told in the search attribute ``StatusCode``."""


class AttemptResult(Model):
    """The result of a ``JobWorkflow``."""

    outcome: JobOutcome | None = None
    stopped: StopReason | None = None


class TerminateOrder(Model):
    """Stop the container of a job at once, whatever else the host is doing."""

    job_id: str
    task_id: str


class DiscardOrder(Model):
    """Make sure that nothing of a stopped attempt is left over on its host."""

    definition: JobDefinition
