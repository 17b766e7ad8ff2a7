"""The states a job can be in (docs/spec/controller.md 3); their sentences are in
:mod:`rap.sentences`.

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
    """The fine state of a job, in the declared order of docs/spec/controller.md 3.2."""

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


STARTING_CODES = frozenset(
    {StatusCode.INITIATED, StatusCode.PREPARING, StatusCode.PREPARED, StatusCode.EXECUTING}
)
"""Entering one of these sets ``started_at`` if it is empty (docs/spec/controller.md 4.1)."""
RUNNING_CODES = STARTING_CODES | {StatusCode.EXECUTED, StatusCode.FINALIZING, StatusCode.FINALIZED}
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

# How far along one attempt is with each code. A reset code opens the next attempt.
_ORDER = (
    {StatusCode.CREATED, *RESET_CODES},
    {StatusCode.WAITING_ON_DEPENDENCIES},
    {StatusCode.WAITING_PAUSED, StatusCode.WAITING_ON_WORKERS, StatusCode.WAITING_ON_DB_WORKERS},
    {StatusCode.INITIATED},
    {StatusCode.PREPARING},
    {StatusCode.PREPARED},
    {StatusCode.EXECUTING},
    {StatusCode.EXECUTED},
    {StatusCode.FINALIZING},
    {StatusCode.FINALIZED},
    FINAL_CODES,
)
_RANKS = {code: rank for rank, codes in enumerate(_ORDER) for code in codes}
_RANKS_PER_ATTEMPT = 16


def version(attempt: int, code: StatusCode) -> int:
    """The place of (attempt, code) in a job's life; a reset code belongs to the attempt it opens.

    A record of a job is replaced only by one of a higher version, so that writes from several
    places, repeated or late, never move a job backwards. Final codes share the highest place of
    their attempt: whichever is written first stays.
    """
    return attempt * _RANKS_PER_ATTEMPT + _RANKS[code]
