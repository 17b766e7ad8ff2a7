"""``rap backend drain``: pause, and wait until what runs has ended by itself."""

import time
from collections.abc import Sequence
from contextlib import nullcontext

from rich.console import Console
from rich.live import Live
from rich.text import Text

from rap.cli import environment, show
from rap.cli.backend_orders import Desk, Given, flag_lines, pause_at
from rap.cli.queue import durations_of, look
from rap.cli.watch import INTERRUPTED
from rap.errors import RapError
from rap.operations.board import JobLine
from rap.operations.flags import FlagName
from rap.operations.moments import ago, roughly
from rap.records import Records
from rap.rows import BackendRow

_LOOK_EVERY_S = 0.5
"""The read model has no events to wait for."""


def command(given: Given, *, within_s: float | None) -> int:
    """Carry out ``rap backend drain``; its exit code.

    Raises:
        RapError: jobs still run after ``within_s`` seconds, or somebody has unpaused the backend.
    """
    desk = Desk(given)
    records = environment.open_records()
    row = pause_at(desk, on=True)
    for line in flag_lines(row, [FlagName.PAUSED]):
        show.say(desk.out, line)
    try:
        row = _wait(desk, records, row, within_s)
    except KeyboardInterrupt:
        show.say(desk.out, f"\nNo longer waiting. {_stays_paused(desk.backend)}")
        return INTERRUPTED
    desk.tell(row, [f"Nothing runs on backend '{desk.backend}'. {_stays_paused(desk.backend)}"])
    return 0


def _stays_paused(backend: str) -> str:
    return f"Backend '{backend}' stays paused; undo: rap backend unpause {backend}"


def _wait(desk: Desk, records: Records, row: BackendRow, within_s: float | None) -> BackendRow:
    """Wait until no job holds a slot; the backend as it is then."""
    deadline = None if within_s is None else time.monotonic() + within_s
    past = {desk.backend: durations_of(records, desk.backend)}
    with _Progress(desk.out) as progress:
        while True:
            (board,) = look(records, [desk.backend], time.time(), past)
            left = len(board.running)
            if not left or not board.glance.paused:
                # The read model may lag behind: the last word is the backend's own.
                row = desk.state()
                if not row.paused:
                    raise RapError(
                        f"Somebody has unpaused backend '{desk.backend}': it was not drained."
                    )
                if not row.slots:
                    return row
                left = len(row.slots)
            if board.running:
                progress.show(board.running)
            if deadline is not None and time.monotonic() > deadline:
                raise RapError(
                    f"{left} job(s) still run after {within_s:g} s. {_stays_paused(desk.backend)}"
                )
            time.sleep(_LOOK_EVERY_S)


class _Progress:
    """What still runs: a list that changes in a terminal, a line for each change elsewhere."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live = Live(console=out, auto_refresh=False) if out.is_terminal else None
        self._told: frozenset[str] | None = None

    def __enter__(self) -> "_Progress":
        (self._live or nullcontext()).__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, running: Sequence[JobLine]) -> None:
        """Show where the jobs stand."""
        if self._live:
            lines = [f"Waiting for {len(running)} job(s) to end:", *map(_words, running)]
            self._live.update(Text("\n".join(lines)), refresh=True)
            return
        now = frozenset(line.job_id for line in running)
        if now != self._told:
            self._told = now
            show.say(self._out, f"Waiting for {len(running)} job(s) to end")
            self._out.file.flush()


def _words(line: JobLine) -> str:
    left = "" if line.seconds is None else f", about {roughly(line.seconds)} more"
    since = ago(line.since, time.time()).removesuffix(" ago")
    return f"  {line.workspace} {line.action} on {line.host} for {since}{left}: {line.why}"
