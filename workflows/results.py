"""From the end of an attempt to the status of its job (controller.md 11).

Pure.
"""

from rap.egress import Ending, ExitNote, Fault, JobOutcome
from rap.errors import FAULT_SENTENCES, TRANSIENT_FAULTS
from rap.exit_notes import exit_sentence
from rap.messages import AttemptResult, StopReason
from rap.models import Model
from rap.status import SUCCEEDED_WITH_EXCLUDED_FILES, StatusCode

MAX_FAULTS = 5
"""How many attempts may fail for a transient fault before the job does."""

FIRST_PAUSE_S = 5
LONGEST_PAUSE_S = 600

DATABASE_EXIT_CODES = {
    2: (
        "There was a problem with the command line arguments in your ehrQL action; please confirm "
        "that it runs locally"
    ),
    3: (
        "A transient database error occurred, your job may run if you try it again, if it keeps "
        "failing then contact tech support"
    ),
    4: "New data is being imported into the database, please try again in a few hours",
    5: "Something went wrong with the database, please contact tech support",
    6: (
        "Your ehrQL is valid but it produced SQL which is too complex for the database to run; "
        "please contact tech-support so we can help you simplify it."
    ),
    10: "There was a problem reading your ehrQL code; please confirm that it runs locally",
    11: "There was a problem reading one of the supplied data files",
    12: "You do not have the required permissions for the ehrQL you are trying to run",
    13: "Assurance tests failed; please confirm the tests pass locally",
    14: (
        "Your job was making such slow progress that it was unlikely to complete successfully; "
        "please contact tech support so we can help you to simplify it."
    ),
}
"""The sentences of controller.md 11.3, for database jobs only."""


class Conclusion(Model):
    """What an attempt means for its job: a final code, or a reset code and a pause."""

    code: StatusCode
    message: str
    pause_s: int = 0
    """How long to wait before the next attempt asks for a slot."""

    @property
    def is_final(self) -> bool:
        """Whether the job is over."""
        return self.code.is_final


def conclude(result: AttemptResult, *, requires_db: bool, faults: int) -> Conclusion:
    """Decide what becomes of a job after an attempt.

    Args:
        result: how the attempt ended.
        requires_db: whether the job reads the database.
        faults: how many attempts before this one failed for a transient fault.
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
    if result.stopped is not None:
        return _stopped(result.stopped)
    if outcome is None:
        return plain(StatusCode.INTERNAL_ERROR)
    if outcome.fault is None:
        # Stopped without an order of ours: an administrator of the backend did it.
        return plain(StatusCode.KILLED_BY_ADMIN)
    if outcome.fault in TRANSIENT_FAULTS and faults + 1 < MAX_FAULTS:
        return Conclusion(
            code=StatusCode.WAITING_ON_NEW_TASK,
            message=StatusCode.WAITING_ON_NEW_TASK.message,
            pause_s=min(FIRST_PAUSE_S * 4**faults, LONGEST_PAUSE_S),
        )
    return failed_for(outcome.fault)


def failed_for(fault: Fault) -> Conclusion:
    """The end of a job that could not be run, with the reason for its reader."""
    return Conclusion(
        code=StatusCode.JOB_ERROR,
        message=f"{StatusCode.JOB_ERROR.message} {FAULT_SENTENCES[fault]}",
    )


def _completed(outcome: JobOutcome, *, requires_db: bool) -> Conclusion:
    """Controller.md 11.2: first match wins."""
    if outcome.exit_code != 0:
        reason = _reason(outcome)
        if reason is None and requires_db and outcome.exit_code is not None:
            reason = DATABASE_EXIT_CODES.get(outcome.exit_code)
        text = StatusCode.NONZERO_EXIT.message
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


def _reason(outcome: JobOutcome) -> str | None:
    """What the agent knows about a non-zero exit (controller.md 11.2)."""
    if outcome.exit_note is None:
        return None
    return exit_sentence(
        outcome.exit_note,
        memory_limit_bytes=outcome.memory_limit_bytes,
        run_time_limit_s=outcome.run_time_limit_s,
    )


def _stopped(reason: StopReason) -> Conclusion:
    if reason is StopReason.MAINTENANCE:
        return plain(StatusCode.WAITING_DB_MAINTENANCE)
    if reason is StopReason.REBOOT:
        return plain(StatusCode.WAITING_ON_REBOOT)
    if reason is StopReason.HOST_LOST:
        return plain(StatusCode.WAITING_ON_NEW_TASK)
    return plain(StatusCode.KILLED_BY_ADMIN)


def plain(code: StatusCode) -> Conclusion:
    """A code with its usual sentence."""
    return Conclusion(code=code, message=code.message)
