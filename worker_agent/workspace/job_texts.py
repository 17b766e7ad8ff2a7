"""What is said to the author of a study about how a job went (agent.md 9.4). Pure.

These texts may name files and patterns: they go to the job's log and metadata, and stay inside the
backend.
"""

from collections.abc import Collection, Sequence

from rap.egress import ExitNote, Fault
from rap.exit_notes import exit_sentence
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
    if cancelled:
        return CANCELLED if container.exit_code == KILLED else None
    note = exit_note(container, cancelled=False)
    if note is None:
        return None
    return exit_sentence(
        note,
        memory_limit_bytes=container.memory_limit_bytes,
        run_time_limit_s=container.run_time_limit_s,
    )


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
    A program that went on after one of its processes ran out of memory, and succeeded, has
    succeeded. If it failed, that is the reason, unless somebody killed it afterwards.
    """
    if killed:
        return ExitNote.KILLED
    if container is None or cancelled or not container.exit_code:
        return None
    was_killed = container.exit_code == KILLED
    if was_killed and container.run_time_limit_s is not None:
        return ExitNote.OUT_OF_TIME
    if container.oom_killed and not (was_killed and container.killed):
        return ExitNote.OUT_OF_MEMORY
    return ExitNote.KILLED if was_killed else None


def _listed(names: Sequence[str]) -> str:
    return "\n   - ".join(names)
