"""``rap watch``: backends, their slots and queues, until Ctrl-C, from the read model alone."""

import time

from cli import environment
from cli.console import live, say, stdout
from cli.options import Data, SomeBackend

EVERY_S = 1.0
"""The row of a backend is written at most so often."""

HISTORY_EVERY_S = 300.0
"""How long earlier jobs took is read anew only now and then."""

_LEAST_LINES = 3


def watch(*, backend: SomeBackend = None, data: Data = None) -> None:
    """Watch backends, their slots and queues, until Ctrl-C.

    In a terminal a table that changes; elsewhere a line for every change.

    Example: rap watch tpp
    """
    from rich.console import Group

    from cli.operations.board import durations_of, headline, look, table

    slugs = environment.backends_of(backend, environment.enter(data))
    records = environment.open_records()
    out = stdout()
    told: dict[str, object] = {}
    read_at = -HISTORY_EVERY_S
    with live(out, screen=True) as update:
        while True:
            if time.monotonic() - read_at >= HISTORY_EVERY_S:
                past = {slug: durations_of(records, slug) for slug in slugs}
                read_at = time.monotonic()
            boards = look(records, slugs, time.time(), past)
            if update:
                running = sum(len(one.running) for one in boards)
                room = (out.height - running - 4 * len(boards)) // max(1, len(boards))
                most = max(_LEAST_LINES, room)
                update(Group(*(table(one, most=most) for one in boards)))
            else:
                for one in boards:
                    # Signs of life alone are no news.
                    news = one.glance._replace(last_seen=None)
                    if told.get(news.backend) != news:
                        told[news.backend] = news
                        line = headline(one.glance, time.time())
                        say(out, f"{time.strftime('%H:%M:%S')}  {line}")
            time.sleep(EVERY_S)
