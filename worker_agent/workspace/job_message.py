"""What is said to the author of a study about how a job went (agent.md 9.4). Pure.

These texts may name files and patterns: they go to the job's log and metadata, and stay inside the
backend.
"""

from collections.abc import Collection, Sequence

from rap.egress import ExitNote, Fault
from rap.status import StatusCode
from worker_agent.engine.facts import ContainerFacts

KILLED = 137
CANCELLED = "Job cancelled by system"
KILLED_BY_ADMIN = StatusCode.KILLED_BY_ADMIN.message
ERRORED = "Job errored"


def status_message(
    container: ContainerFacts | None,
    *,
    outputs: Collection[str] = (),
    unmatched_patterns: Sequence[str] = (),
    cancelled: bool = False,
    killed: bool = False,
    fault: Fault | None = None,
) -> str | None:
    """The first sentence that fits, or ``None``: the exit code says all that is known."""
    if killed:
        return KILLED_BY_ADMIN
    if container is None:
        return CANCELLED if cancelled else ERRORED if fault else None
    if container.exit_code == 0 and unmatched_patterns:
        return f"\n  No outputs found matching patterns:\n - {_listed(unmatched_patterns)}"
    if container.exit_code == 0 and outputs:
        return "Completed successfully"
    if container.exit_code != KILLED:
        return None
    if cancelled:
        return CANCELLED
    if container.oom_killed:
        limit = container.memory_limit_bytes or 0
        known = f" (limit was {limit / 1024**3:.2f}GB)" if limit > 0 else ""
        return f"Job ran out of memory{known}"
    return "Job killed by OpenSAFELY admin or memory limits"


def hint(
    container: ContainerFacts | None,
    *,
    unmatched_patterns: Sequence[str],
    unmatched_outputs: Sequence[str],
) -> str | None:
    """Files that may be the outputs somebody meant."""
    if container is None or container.exit_code != 0:
        return None
    if not (unmatched_patterns and unmatched_outputs):
        return None
    listed = _listed(unmatched_outputs)
    return f"\n  Did you mean to match one of these files instead?\n - {listed}"


def exit_note(
    container: ContainerFacts | None, *, cancelled: bool, killed: bool = False
) -> ExitNote | None:
    """What is known about an exit beyond its code; may leave the backend.

    Of attempts that were stopped only those have one that an administrator of the host killed.
    """
    if killed:
        return ExitNote.KILLED
    if container is None or cancelled or container.exit_code != KILLED:
        return None
    return ExitNote.OUT_OF_MEMORY if container.oom_killed else ExitNote.KILLED


def _listed(names: Sequence[str]) -> str:
    return "\n   - ".join(names)
