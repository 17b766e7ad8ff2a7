"""What is said to the author of a study about how a job went (docs/spec/agent.md 9.4). Pure.

These texts may name files and patterns: they go to the job's log and metadata, and stay inside the
backend.
"""

from collections.abc import Sequence

from rap.egress import ExitNote
from rap.sentences import CODE_SENTENCES, INTERRUPTION_SENTENCES, exit_sentence
from rap.status import StatusCode
from worker_agent.engine.facts import KILLED
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.outputs import Matched

CANCELLED = "Job cancelled by system"
KILLED_BY_ADMIN = CODE_SENTENCES[StatusCode.KILLED_BY_ADMIN]
ERRORED = "Job errored"


def status_message(end: AttemptEnd, matched: Matched) -> str | None:
    """The first sentence that fits, or ``None``: the exit code says all that is known."""
    container = end.container
    if end.killed:
        return KILLED_BY_ADMIN
    if end.interruption is not None and not end.cancelled:
        return INTERRUPTION_SENTENCES[end.interruption]
    if container is None:
        return CANCELLED if end.cancelled else ERRORED if end.fault else None
    if container.exit_code == 0 and matched.unmatched_patterns:
        return f"\n  No outputs found matching patterns:\n - {_listed(matched.unmatched_patterns)}"
    if container.exit_code == 0 and matched.outputs:
        return "Completed successfully"
    if end.cancelled:
        return CANCELLED if container.exit_code == KILLED else None
    note = exit_note(end)
    if note is None:
        return None
    return exit_sentence(
        note,
        memory_limit_bytes=container.memory_limit_bytes,
        run_time_limit_s=container.run_time_limit_s,
    )


def hint(end: AttemptEnd, matched: Matched) -> str | None:
    """Files that may be the outputs somebody meant."""
    if end.container is None or end.container.exit_code != 0 or end.interruption is not None:
        return None
    if not (matched.unmatched_patterns and matched.unmatched_outputs):
        return None
    listed = _listed(matched.unmatched_outputs)
    return f"\n  Did you mean to match one of these files instead?\n - {listed}"


def exit_note(end: AttemptEnd) -> ExitNote | None:
    """What is known about an exit beyond its code; may leave the backend.

    Of attempts that were stopped only those have one that an administrator of the host killed.
    A program that went on after one of its processes ran out of memory, and succeeded, has
    succeeded. If it failed, that is the reason, unless somebody killed it afterwards.
    """
    container = end.container
    if end.killed:
        return ExitNote.KILLED
    if container is None or end.cancelled or end.interruption or not container.exit_code:
        return None
    was_killed = container.exit_code == KILLED
    if was_killed and container.run_time_limit_s is not None:
        return ExitNote.OUT_OF_TIME
    if container.oom_killed and not (was_killed and container.killed):
        return ExitNote.OUT_OF_MEMORY
    return ExitNote.KILLED if was_killed else None


def _listed(names: Sequence[str]) -> str:
    return "\n   - ".join(names)
