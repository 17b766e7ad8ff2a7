"""``rap queue``: who runs on a backend, who waits, why, and until when, likely.

From the read model alone: it works while Temporal is down.
"""

import time
from typing import Annotated

import typer

from cli import environment
from cli.console import reply
from cli.options import Data, Json, SomeBackend

MOST_LINES = 50
"""Waiting jobs of a backend that are shown on a terminal, unless all are asked for."""


def queue(
    *,
    backend: SomeBackend = None,
    everything: Annotated[bool, typer.Option("--all", help="However many wait.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show who runs and who waits, in order: why, since when, and until when, likely.

    The estimates are medians of how long such jobs took before, in the order of the queue.

    Example: rap queue tpp
    """
    from cli.operations.board import look, table

    slugs = environment.backends_of(backend, environment.enter(data))
    boards = look(environment.open_records(), slugs, time.time())
    # Of the others nothing is known that would be worth a line.
    shown = [one for one in boards if backend or one.glance.last_seen or one.waiting]
    most = None if everything else MOST_LINES
    reply(
        {"backends": [one.document for one in boards]},
        (table(one, most=most) for one in shown or boards),
        as_json=as_json,
    )
