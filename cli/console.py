"""What commands print: sentences, tables, JSON; colours and what changes only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING, Any

from rap.status import State

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

COLOURS = {
    State.PENDING: "dim",
    State.RUNNING: "cyan",
    State.SUCCEEDED: "green",
    State.FAILED: "red",
}
_WIDE = 240
"""Columns where nobody looks at a screen: what is piped should not be wrapped."""
_PATIENCE_S = 2.0


def stdout() -> Console:
    """Standard output, as it is now."""
    return _console(errors=False)


def stderr() -> Console:
    """Standard error, as it is now."""
    return _console(errors=True)


def messages(*, as_json: bool) -> Console:
    """Where sentences go: standard error if standard output is for a JSON document."""
    return _console(errors=as_json)


def _console(*, errors: bool) -> Console:
    from rich.console import Console

    width = None if (sys.stderr if errors else sys.stdout).isatty() else _WIDE
    # Texts of others are printed as they are: brackets and colons in them mean nothing.
    return Console(stderr=errors, width=width, highlight=False, markup=False, emoji=False)


def say(out: Console, text: str) -> None:
    """Print text as it is, however long its lines are."""
    out.print(text, soft_wrap=True)


def print_json(document: dict[str, Any]) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def reply(document: dict[str, Any], shown: Iterable[RenderableType], *, as_json: bool) -> None:
    """Answer on standard output: with a document for programs, or with what people read."""
    if as_json:
        print_json(document)
        return
    from rich.text import Text

    out = stdout()
    for part in shown:
        out.print(part, soft_wrap=isinstance(part, str | Text))


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


@contextmanager
def live(
    out: Console, *, screen: bool = False
) -> Iterator[Callable[[RenderableType], None] | None]:
    """A way to show one thing in place of the last; ``None`` where lines cannot be changed."""
    from rich.live import Live

    if not out.is_terminal:
        yield None
        return
    with Live(console=out, auto_refresh=False, screen=screen) as shown:
        yield lambda what: shown.update(what, refresh=True)


def plain_table(*headings: str, folded: Collection[str] = ()) -> Table:
    """A table without lines; only the columns in ``folded`` have more than one line in a row."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in headings:
        if heading in folded:
            table.add_column(heading, overflow="fold", min_width=20)
        else:
            table.add_column(heading, no_wrap=True)
    return table


def counted(number: int, what: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """A program's own words, without the characters by which it could play with a terminal."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for letter in text.replace("\r\n", "\n")
    )
