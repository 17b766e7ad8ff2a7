"""How the commands show jobs: tables, live progress, JSON; colours only on a terminal."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from threading import Timer
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from rap.cli.jobs import Job, has_ended
from rap.status import State

COLOURS = {
    State.PENDING: "dim",
    State.RUNNING: "cyan",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
}
_WIDE = 240
"""Columns where nobody looks at a screen: what is piped should not be wrapped."""
_PATIENCE_S = 2.0
_DAY = len("2026-01-31 ")


def console(*, errors: bool = False) -> Console:
    """A console on standard output, or on standard error."""
    stream = sys.stderr if errors else sys.stdout
    return Console(stderr=errors, width=None if stream.isatty() else _WIDE, highlight=False)


def say(out: Console, text: str) -> None:
    """Print text as it is, however long its lines are."""
    out.print(text, markup=False, soft_wrap=True)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


@contextmanager
def patience(out: Console, text: str) -> Iterator[None]:
    """Say what is being waited for if it takes longer than two seconds."""
    timer = Timer(_PATIENCE_S, say, (out, text))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class Progress:
    """Jobs as they go on: a table that changes in a terminal; elsewhere a line for every change."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live = Live(console=out, auto_refresh=False) if out.is_terminal else None
        self._seen: dict[str, str] = {}
        self._start = time.monotonic()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, jobs: Sequence[Job]) -> None:
        """Show where the jobs stand."""
        seconds = time.monotonic() - self._start
        if self._live:
            self._live.update(tables(jobs), refresh=True)
            return
        for job in jobs:
            code = job["status_code"]
            if self._seen.get(job["identifier"]) != code:
                self._seen[job["identifier"]] = code
                message = f"  {job['status_message']}" if has_ended(job) else ""
                say(self._out, f"{seconds:7.1f} s  {job['action']:<20} {code}{message}")


def tables(jobs: Sequence[Job]) -> RenderableType:
    """A table for each RAP, with a line about it above."""
    parts: list[RenderableType] = []
    for _, group in groupby(jobs, key=lambda job: str(job["rap_id"])):
        of_rap = list(group)
        parts += [Text(), Text(headline(of_rap)), _table(of_rap)]
    return Group(*parts[1:])


def headline(jobs: Sequence[Job]) -> str:
    """A line about the jobs of one RAP: where, since when, how many have ended how."""
    first = jobs[0]
    ended = sum(has_ended(job) for job in jobs)
    failed = sum(job["status"] == State.FAILED for job in jobs)
    count = f"{ended} of {len(jobs)} jobs ended" + (f", {failed} failed" if failed else "")
    where = f"{first['workspace']} on {first['backend']}"
    return f"RAP {first['rap_id']}  {where}, created {_moment(first['created_at'])}: {count}"


def _table(jobs: Sequence[Job]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("action", "status", "code"):
        table.add_column(heading, no_wrap=True)
    table.add_column("message", overflow="fold", min_width=20)
    for heading in ("started", "completed"):
        table.add_column(heading, no_wrap=True)
    day = _moment(jobs[0]["created_at"])[:_DAY]
    for job in jobs:
        table.add_row(
            Text(job["action"]),
            Text(job["status"], COLOURS[State(job["status"])]),
            Text(job["status_code"]),
            Text(job["status_message"]),
            # The day of the line above is not repeated.
            _moment(job["started_at"]).removeprefix(day),
            _moment(job["completed_at"]).removeprefix(day),
        )
    return table


def _moment(text: str | None) -> str:
    """A time of the wire in the time zone of this machine; empty if there is none."""
    if text is None:
        return ""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S")
