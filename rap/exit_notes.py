"""What a reader is told about an exit beyond its code (agent.md 9.4, controller.md 11.2). Pure.

The agent writes these sentences into the job's own record, the controller into the job's status;
both know only numbers, so both say the same.
"""

from rap.egress import ExitNote

_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def exit_sentence(
    note: ExitNote,
    *,
    memory_limit_bytes: int | None = None,
    run_time_limit_s: float | None = None,
) -> str:
    """The sentence for a note, with the limit that was hit if it is known."""
    if note is ExitNote.OUT_OF_MEMORY:
        if not memory_limit_bytes:
            return "Job ran out of memory"
        return f"Job ran out of memory (limit was {memory_limit_bytes / 1024**3:.2f}GB)"
    if note is ExitNote.OUT_OF_TIME:
        if not run_time_limit_s:
            return "Job ran longer than this backend allows"
        return f"Job ran longer than this backend allows (limit was {duration(run_time_limit_s)})"
    return "Job killed by OpenSAFELY admin or memory limits"


def duration(seconds: float) -> str:
    """A length of time in the largest unit that has a whole number of them: ``36 hours``."""
    for length, unit in _UNITS:
        if seconds >= length and seconds % length == 0:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{seconds:g} seconds"
