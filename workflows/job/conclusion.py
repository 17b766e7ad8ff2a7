"""From the end of an attempt to the status of its job (docs/spec/controller.md 11). Pure."""

from collections.abc import Iterable

from rap.egress import TRANSIENT_FAULTS, Ending, ExitNote, Fault, JobOutcome
from rap.messages.jobs import AttemptResult, StopReason
from rap.models import INTERRUPTIONS_A_DAY, Model
from rap.sentences import (
    CODE_SENTENCES,
    DATABASE_EXIT_CODES,
    FAULT_SENTENCES,
    SUCCEEDED_WITH_EXCLUDED_FILES,
    exit_sentence,
    interrupted_sentence,
    lost_host_sentence,
    retried_sentence,
    returned_sentence,
    too_often_interrupted,
)
from rap.status import StatusCode

MAX_FAULTS = 5
"""How many attempts may fail for a transient fault before the job does."""
FIRST_PAUSE_S = 5
LONGEST_PAUSE_S = 600
INTERRUPTIONS_COUNT_S = 24 * 3600
"""For how long an interruption of a job is held against it."""

_STOPPED = {
    StopReason.CANCELLED: StatusCode.CANCELLED_BY_USER,
    StopReason.MAINTENANCE: StatusCode.WAITING_DB_MAINTENANCE,
    StopReason.REBOOT: StatusCode.WAITING_ON_REBOOT,
    StopReason.KILLED_BY_ADMIN: StatusCode.KILLED_BY_ADMIN,
}


class Conclusion(Model):
    """What an attempt means for its job: a final code, or a reset code and a pause."""

    code: StatusCode
    message: str
    pause_s: int = 0
    """How long to wait before the next attempt asks for a slot."""


def that_count(interrupted_at: Iterable[float], now: float) -> int:
    """How many of these interruptions are still held against a job."""
    return sum(now - at < INTERRUPTIONS_COUNT_S for at in interrupted_at)


def conclude(
    result: AttemptResult,
    *,
    requires_db: bool,
    faults: int,
    attempt: int = 1,
    interruptions: int = 0,
    interruptions_a_day: int = INTERRUPTIONS_A_DAY,
) -> Conclusion:
    """Decide what becomes of a job after an attempt.

    Of those before it ``faults`` failed for a transient fault, and as many as ``interruptions``
    were interrupted within a day. An interruption is no fault of the job, unless it has so many
    that it seems to bring down what it runs on.
    """
    outcome = result.outcome
    if result.stopped is StopReason.CANCELLED:
        return plain(StatusCode.CANCELLED_BY_USER)
    if outcome is not None and outcome.ending is Ending.COMPLETED:
        # Work that was finished before the order arrived is kept; a failure is not, since the
        # order's cause (a database going away, say) may have caused it.
        completed = _completed(outcome, requires_db=requires_db)
        if completed.code is StatusCode.SUCCEEDED or result.stopped is None:
            return completed
    if outcome is not None and _killed_on_its_host(outcome):
        # Also where a requeue was ordered: whoever killed it does not want it to come back.
        return plain(StatusCode.KILLED_BY_ADMIN)
    if result.stopped is StopReason.HOST_LOST:
        message = lost_host_sentence(attempt)
        return Conclusion(code=StatusCode.WAITING_ON_NEW_TASK, message=message)
    if result.stopped is not None:
        return plain(_STOPPED[result.stopped])
    if outcome is None:
        return plain(StatusCode.INTERNAL_ERROR)
    if outcome.ending is Ending.INTERRUPTED:
        if interruptions >= interruptions_a_day:
            message = too_often_interrupted(outcome.interruption, interruptions + 1)
            return Conclusion(code=StatusCode.JOB_ERROR, message=message)
        message = interrupted_sentence(outcome.interruption, attempt)
        return Conclusion(code=StatusCode.WAITING_ON_NEW_TASK, message=message)
    if outcome.ending is Ending.CANCELLED:
        # Stopped without an order of ours: an administrator of the backend did it.
        return plain(StatusCode.KILLED_BY_ADMIN)
    if outcome.ending is Ending.RETURNED:
        return Conclusion(
            code=StatusCode.WAITING_ON_NEW_TASK,
            message=returned_sentence(outcome.fault or Fault.UNEXPECTED),
            pause_s=FIRST_PAUSE_S,
        )
    # One that we do not know, of a newer agent, has been left out.
    fault = outcome.fault or Fault.UNEXPECTED
    if fault in TRANSIENT_FAULTS and faults + 1 < MAX_FAULTS:
        return Conclusion(
            code=StatusCode.WAITING_ON_NEW_TASK,
            message=retried_sentence(fault, attempt),
            pause_s=min(FIRST_PAUSE_S * 4**faults, LONGEST_PAUSE_S),
        )
    return failed_for(fault)


def failed_for(fault: Fault) -> Conclusion:
    """The end of a job that could not be run, with the reason for its reader."""
    return Conclusion(
        code=StatusCode.JOB_ERROR,
        message=f"{CODE_SENTENCES[StatusCode.JOB_ERROR]} {FAULT_SENTENCES[fault]}",
    )


def _completed(outcome: JobOutcome, *, requires_db: bool) -> Conclusion:
    """The first match wins (docs/spec/controller.md 11.2)."""
    if outcome.exit_code != 0:
        reason = None
        if outcome.exit_note is not None:
            reason = exit_sentence(
                outcome.exit_note,
                memory_limit_bytes=outcome.memory_limit_bytes,
                run_time_limit_s=outcome.run_time_limit_s,
            )
        elif requires_db and outcome.exit_code is not None:
            reason = DATABASE_EXIT_CODES.get(outcome.exit_code)
        text = CODE_SENTENCES[StatusCode.NONZERO_EXIT]
        return Conclusion(
            code=StatusCode.NONZERO_EXIT, message=f"{text}: {reason}" if reason else text
        )
    if outcome.has_unmatched_patterns:
        return plain(StatusCode.UNMATCHED_PATTERNS)
    if outcome.has_level4_excluded_files:
        return Conclusion(code=StatusCode.SUCCEEDED, message=SUCCEEDED_WITH_EXCLUDED_FILES)
    return plain(StatusCode.SUCCEEDED)


def _killed_on_its_host(outcome: JobOutcome) -> bool:
    """Whether an administrator of the backend stopped the attempt (``rap agent kill``)."""
    return outcome.ending is Ending.CANCELLED and outcome.exit_note is ExitNote.KILLED


def plain(code: StatusCode) -> Conclusion:
    """A code with its usual sentence."""
    return Conclusion(code=code, message=CODE_SENTENCES[code])
