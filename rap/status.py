"""The states a job can be in, and the sentence a reader sees for each (controller.md 3).

Pure data and pure rules: no clock, no storage, no Temporal.
"""

from enum import StrEnum


class State(StrEnum):
    """The coarse state of a job; the only values of ``status`` on the wire."""

    PENDING = "pending"
    RUNNING = "running"
    FAILED = "failed"
    SUCCEEDED = "succeeded"

    @property
    def is_active(self) -> bool:
        """Whether a job in this state may still change."""
        return self in (State.PENDING, State.RUNNING)


class StatusCode(StrEnum):
    """The fine state of a job, in the declared order of controller.md 3.2."""

    CREATED = "created"
    INITIATED = "initiated"
    WAITING_PAUSED = "paused"
    WAITING_DB_MAINTENANCE = "waiting_db_maintenance"
    WAITING_ON_DEPENDENCIES = "waiting_on_dependencies"
    WAITING_ON_WORKERS = "waiting_on_workers"
    WAITING_ON_DB_WORKERS = "waiting_on_db_workers"
    WAITING_ON_REBOOT = "waiting_on_reboot"
    WAITING_ON_NEW_TASK = "waiting_on_new_task"
    PREPARING = "preparing"
    PREPARED = "prepared"
    EXECUTING = "executing"
    EXECUTED = "executed"
    FINALIZING = "finalizing"
    FINALIZED = "finalized"
    SUCCEEDED = "succeeded"
    DEPENDENCY_FAILED = "dependency_failed"
    NONZERO_EXIT = "nonzero_exit"
    CANCELLED_BY_USER = "cancelled_by_user"
    UNMATCHED_PATTERNS = "unmatched_patterns"
    INTERNAL_ERROR = "internal_error"
    KILLED_BY_ADMIN = "killed_by_admin"
    STALE_CODELISTS = "stale_codelists"
    JOB_ERROR = "job_error"

    @property
    def state(self) -> State:
        """The coarse state this code belongs to."""
        if self is StatusCode.SUCCEEDED:
            return State.SUCCEEDED
        if self in FINAL_CODES:
            return State.FAILED
        return State.RUNNING if self in RUNNING_CODES else State.PENDING

    @property
    def is_final(self) -> bool:
        """Whether a job with this code never changes again."""
        return self in FINAL_CODES

    @property
    def is_reset(self) -> bool:
        """Whether the code sends a started job back to waiting, for another attempt."""
        return self in RESET_CODES

    @property
    def starts_the_clock(self) -> bool:
        """Whether entering this code sets ``started_at`` when it is empty (controller.md 4.1)."""
        return self in STARTING_CODES

    @property
    def message(self) -> str:
        """The sentence shown with this code when nothing more particular is known."""
        return _MESSAGES[self]


STARTING_CODES = frozenset(
    {StatusCode.INITIATED, StatusCode.PREPARING, StatusCode.PREPARED, StatusCode.EXECUTING}
)
RUNNING_CODES = STARTING_CODES | {
    StatusCode.EXECUTED,
    StatusCode.FINALIZING,
    StatusCode.FINALIZED,
}
RESET_CODES = frozenset(
    {
        StatusCode.WAITING_ON_REBOOT,
        StatusCode.WAITING_DB_MAINTENANCE,
        StatusCode.WAITING_ON_NEW_TASK,
    }
)
FINAL_CODES = frozenset(
    {
        StatusCode.SUCCEEDED,
        StatusCode.DEPENDENCY_FAILED,
        StatusCode.NONZERO_EXIT,
        StatusCode.CANCELLED_BY_USER,
        StatusCode.UNMATCHED_PATTERNS,
        StatusCode.INTERNAL_ERROR,
        StatusCode.KILLED_BY_ADMIN,
        StatusCode.STALE_CODELISTS,
        StatusCode.JOB_ERROR,
    }
)

_RUNNING = "Job executing on the backend"
_MESSAGES = {
    StatusCode.CREATED: "Created",
    StatusCode.INITIATED: _RUNNING,
    StatusCode.WAITING_PAUSED: (
        "Backend is currently paused for maintenance, job will start once this is completed"
    ),
    StatusCode.WAITING_DB_MAINTENANCE: "Waiting for database to finish maintenance",
    StatusCode.WAITING_ON_DEPENDENCIES: "Waiting on dependencies",
    StatusCode.WAITING_ON_WORKERS: "Waiting on available workers",
    StatusCode.WAITING_ON_DB_WORKERS: "Waiting on available database workers",
    StatusCode.WAITING_ON_REBOOT: "Job restarted - waiting for server to reboot",
    StatusCode.WAITING_ON_NEW_TASK: (
        "This job returned an error that could be retried with a new task."
    ),
    StatusCode.PREPARING: _RUNNING,
    StatusCode.PREPARED: _RUNNING,
    StatusCode.EXECUTING: _RUNNING,
    StatusCode.EXECUTED: _RUNNING,
    StatusCode.FINALIZING: _RUNNING,
    StatusCode.FINALIZED: _RUNNING,
    StatusCode.SUCCEEDED: "Completed successfully",
    StatusCode.DEPENDENCY_FAILED: "Not starting as dependency failed",
    StatusCode.NONZERO_EXIT: "Job exited with an error",
    StatusCode.CANCELLED_BY_USER: "Cancelled by user",
    StatusCode.UNMATCHED_PATTERNS: (
        "Outputs matching expected patterns were not found. See job log for details."
    ),
    StatusCode.INTERNAL_ERROR: (
        "Internal error: this usually means a platform issue rather than a problem for users "
        "to fix.\nThe tech team are automatically notified of these errors and will be "
        "investigating."
    ),
    StatusCode.KILLED_BY_ADMIN: "Job killed by an OpenSAFELY administrator",
    StatusCode.STALE_CODELISTS: "Codelists are out of date",
    StatusCode.JOB_ERROR: "This job returned a fatal error.",
}

SUCCEEDED_WITH_EXCLUDED_FILES = (
    "Completed successfully, but some file(s) marked as moderately_sensitive were excluded. "
    "See job log for details."
)
WAITING_HEAVY = "Waiting on available workers for resource intensive job"

# How far along one attempt is with each code. A reset code opens the next attempt.
_RANKS = {
    StatusCode.CREATED: 0,
    StatusCode.WAITING_ON_REBOOT: 0,
    StatusCode.WAITING_DB_MAINTENANCE: 0,
    StatusCode.WAITING_ON_NEW_TASK: 0,
    StatusCode.WAITING_ON_DEPENDENCIES: 1,
    StatusCode.WAITING_PAUSED: 2,
    StatusCode.WAITING_ON_WORKERS: 2,
    StatusCode.WAITING_ON_DB_WORKERS: 2,
    StatusCode.INITIATED: 3,
    StatusCode.PREPARING: 4,
    StatusCode.PREPARED: 5,
    StatusCode.EXECUTING: 6,
    StatusCode.EXECUTED: 7,
    StatusCode.FINALIZING: 8,
    StatusCode.FINALIZED: 9,
}
_FINAL_RANK = 10
_RANKS_PER_ATTEMPT = 16


def version(attempt: int, code: StatusCode) -> int:
    """The place of (attempt, code) in a job's life.

    A record of a job is replaced only by one of a higher version, so that writes from several
    places, repeated or late, never move a job backwards. Final codes share the highest place of
    their attempt: whichever is written first stays.

    Args:
        attempt: counts from 1.
        code: the status code reached in that attempt; a reset code belongs to the attempt it opens.
    """
    return attempt * _RANKS_PER_ATTEMPT + _RANKS.get(code, _FINAL_RANK)
