"""``rap backend list``, from the read model alone, also while Temporal is down."""

import time

from cli import environment
from cli.console import plain_table, reply
from cli.options import Data, Json
from rap.durations import ago, clock


def list_(*, data: Data = None, as_json: Json = False) -> None:
    """Show all backends in a line each: switches, workers, queue, agents.

    It reads the read model alone, so it answers while Temporal is down.

    Example: rap backend list --json
    """
    from rich.text import Text

    from cli.operations.board import glance, rows_of

    slugs = environment.enter(data).backends
    now = time.time()
    glances = [glance(row, now) for row in rows_of(environment.open_records(), slugs)]
    headings = ("backend", "state", "since", "workers", "db workers", "running", "queue")
    table = plain_table(*headings, "agents", "last seen")
    for one in glances:
        ordered = " (ordered)" if one.limits_ordered else ""
        silent = f" + {one.silent_agents} silent" if one.silent_agents else ""
        table.add_row(
            one.backend,
            Text(one.modes, "yellow" if one.modes != "open" else "green"),
            clock(one.paused_since) if one.paused else "",
            f"{one.used:g} of {one.max_workers:g}{ordered}",
            f"{one.used_db:g} of {one.max_db_workers:g}",
            str(one.running),
            str(one.waiting),
            f"{one.agents}{silent}",
            ago(one.last_seen, now),
        )
    reply({"backends": [one._asdict() for one in glances]}, [table], as_json=as_json)
