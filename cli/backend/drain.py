"""``rap backend drain``: pause, and wait until what runs has ended by itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from cli import environment
from cli.backend.orders import Operator, by_operator
from cli.console import live
from rap.durations import ago, length_s, roughly
from rap.errors import RapError

if TYPE_CHECKING:
    from cli.operations.board import JobLine
    from rap.rows import BackendRow

_LOOK_EVERY_S = 0.5
"""The read model has no events to wait for."""


@by_operator
def drain(
    *,
    operator: Operator,
    timeout: Annotated[
        str | None, typer.Option(help="Give up after 90s, 15m, 4h … Default: never.")
    ] = None,
) -> None:
    """Pause, and wait until all running jobs have ended by themselves.

    Ctrl-C and --timeout end the waiting, not the pause. Ends with 1 if jobs still run.

    Example: rap backend drain tpp --timeout 4h
    """
    from cli.operations.flags import paused_lines

    within_s = None if timeout is None else length_s(timeout, option="--timeout")
    for line in paused_lines(operator.pause(on=True)):
        operator.say(line)
    slug = operator.backend
    stays = f"Backend '{slug}' stays paused; undo: rap backend unpause {slug}"
    try:
        row = _wait(operator, within_s, stays)
    except KeyboardInterrupt:
        operator.say(f"\nNo longer waiting. {stays}")
        raise
    operator.tell(row, f"Nothing runs on backend '{slug}'. {stays}")


def _wait(operator: Operator, within_s: float | None, stays: str) -> BackendRow:
    """Wait until no job holds a slot; the backend as it is then.

    RapError: jobs still run after ``within_s`` seconds, or somebody has unpaused the backend.
    """
    from cli.operations.board import durations_of, look

    records = environment.open_records()
    deadline = None if within_s is None else time.monotonic() + within_s
    past = {operator.backend: durations_of(records, operator.backend)}
    told: set[str] = set()
    with live(operator.out) as update:
        while True:
            (board,) = look(records, [operator.backend], time.time(), past)
            left = len(board.running)
            if not left or not board.glance.paused:
                # The read model may lag behind: the last word is the backend's own.
                row = operator.state()
                if not row.paused:
                    raise RapError(
                        f"Somebody has unpaused backend '{operator.backend}': it was not drained."
                    )
                if not row.slots:
                    return row
                left = len(row.slots)
            waiting = f"Waiting for {len(board.running)} job(s) to end"
            running = {line.job_id for line in board.running}
            if running and update:
                update("\n".join([f"{waiting}:", *map(_words, board.running)]))
            elif running and running != told:
                told = running
                operator.say(waiting)
            if deadline is not None and time.monotonic() > deadline:
                raise RapError(f"{left} job(s) still run after {within_s:g} s. {stays}")
            time.sleep(_LOOK_EVERY_S)


def _words(line: JobLine) -> str:
    left = "" if line.seconds is None else f", about {roughly(line.seconds)} more"
    since = ago(line.since, time.time()).removesuffix(" ago")
    return f"  {line.workspace} {line.action} on {line.host} for {since}{left}: {line.why}"
