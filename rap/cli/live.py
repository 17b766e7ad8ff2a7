"""``rap watch``: backends, their slots and queues, until Ctrl-C, from the read model alone."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.live import Live

from rap.cli import environment, show
from rap.cli.queue import durations_of, headline, look, table
from rap.cli.watch import INTERRUPTED
from rap.operations.board import Board
from rap.operations.estimates import Durations
from rap.records import Records

EVERY_S = 1.0
"""The row of a backend is written at most so often."""

HISTORY_EVERY_S = 300.0
_LEAST_LINES = 3


def command(backend: str | None, *, data: Path | None) -> int:
    """Carry out ``rap watch``; its exit code, which is that of Ctrl-C."""
    settings = environment.enter(data)
    slugs = (environment.backend_of(backend, settings),) if backend else settings.backends
    records = environment.open_records()
    try:
        _show(records, slugs) if show.console().is_terminal else _print(records, slugs)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


class _Looks:
    """Looks again and again; how long jobs took is read anew only now and then."""

    def __init__(self, records: Records, slugs: Sequence[str]) -> None:
        self._records, self._slugs = records, slugs
        self._past: dict[str, Durations] = {}
        self._read_at = -HISTORY_EVERY_S

    def again(self) -> list[Board]:
        if time.monotonic() - self._read_at >= HISTORY_EVERY_S:
            self._past = {slug: durations_of(self._records, slug) for slug in self._slugs}
            self._read_at = time.monotonic()
        return look(self._records, self._slugs, time.time(), self._past)


def _show(records: Records, slugs: Sequence[str]) -> None:
    """A table that changes, as high as the terminal."""
    looks, out = _Looks(records, slugs), show.console()
    with Live(console=out, auto_refresh=False, screen=True) as live:
        while True:
            boards = looks.again()
            running = sum(len(one.running) for one in boards)
            room = (out.height - running - 4 * len(boards)) // max(1, len(boards))
            most = max(_LEAST_LINES, room)
            live.update(Group(*(table(one, most=most) for one in boards)), refresh=True)
            time.sleep(EVERY_S)


def _print(records: Records, slugs: Sequence[str]) -> None:
    """A line for every change of a backend, where lines cannot be changed."""
    looks, out = _Looks(records, slugs), show.console()
    told: dict[str, object] = {}
    while True:
        for one in looks.again():
            # Signs of life alone are no news.
            news = one.glance._replace(last_seen=None)
            if told.get(news.backend) != news:
                told[news.backend] = news
                stamp = time.strftime("%H:%M:%S")
                show.say(out, f"{stamp}  {headline(one.glance, time.time())}")
        out.file.flush()
        time.sleep(EVERY_S)
