"""What a database check printed, reduced to the few words that may leave. Pure.

The list is closed, so that even an image in wrong hands cannot use its answer to smuggle anything
out (docs/spec/agent.md 5.3); nothing in here, errors included, repeats what it was given.
"""

from dataclasses import dataclass

from rap.egress import DatabaseStatus, DataCheckStatus, Fault
from rap.errors import PermanentFault

STATUS_ANSWERS = (
    "",
    "db-maintenance",
    "db-maintenance;0",
    "db-maintenance;1",
    "db-maintenance;2",
    "none;0",
    "none;1",
    "none;2",
)
"""The last lines that ``in_maintenance_mode`` may print."""
DATA_CHECK_ANSWERS = tuple(DataCheckStatus)
"""The last lines that ``hes_cutoff_date_check`` may print."""


@dataclass(frozen=True, slots=True)
class StatusFinding:
    """What a ``dbstatus`` check found out."""

    status: DatabaseStatus
    build_count: int | None = None
    """How many builds of the database are under way; it never leaves the backend."""


def status_finding(output: bytes) -> StatusFinding:
    """What ``in_maintenance_mode`` found out, by its standard output; or CHECK_ANSWER_REFUSED."""
    answer = _allowed(output, STATUS_ANSWERS)
    word, _, count = answer.partition(";")
    in_maintenance = word == DatabaseStatus.MAINTENANCE
    return StatusFinding(
        status=DatabaseStatus.MAINTENANCE if in_maintenance else DatabaseStatus.AVAILABLE,
        build_count=int(count) if count else None,
    )


def data_check_finding(output: bytes) -> DataCheckStatus:
    """What ``hes_cutoff_date_check`` found out, by its standard output; or CHECK_ANSWER_REFUSED."""
    return DataCheckStatus(_allowed(output, DATA_CHECK_ANSWERS))


def _allowed(output: bytes, answers: tuple[str, ...]) -> str:
    """The last line without the blanks around it, if it is one of these answers."""
    last = output.rstrip().rpartition(b"\n")[2].strip()
    for answer in answers:
        if last == answer.encode():
            return answer
    listed = ", ".join(repr(str(answer)) for answer in answers)
    raise PermanentFault(Fault.CHECK_ANSWER_REFUSED, f"Invalid status, expected one of: {listed}")
