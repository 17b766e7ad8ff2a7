"""``rap backend list`` and ``show``, from the read model alone, also while Temporal is down."""

import time
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from rap.cli import environment, show
from rap.egress import SILENT_AFTER_S, AgentReport
from rap.errors import RapError
from rap.operations.board import Glance, glance
from rap.operations.moments import ago, clock
from rap.rows import BackendRow, OrderEntry

_MIB = 1024 * 1024
_RECENT_ORDERS = 10


def command_list(*, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap backend list``; its exit code."""
    settings = environment.enter(data)
    rows = environment.open_records().backends(settings.backends)
    now = time.time()
    glances = [glance(slug, rows.get(slug), now) for slug in settings.backends]
    if as_json:
        show.print_json({"backends": [one._asdict() for one in glances]})
    else:
        show.console().print(_table(glances, now))
    return 0


def _table(glances: list[Glance], now: float) -> Table:
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("backend", "state", "since", "workers", "db workers", "running", "queue"):
        found.add_column(heading, no_wrap=True)
    found.add_column("agents", no_wrap=True)
    found.add_column("last seen", no_wrap=True)
    for one in glances:
        ordered = " (ordered)" if one.limits_ordered else ""
        silent = f" + {one.silent_agents} silent" if one.silent_agents else ""
        found.add_row(
            Text(one.backend),
            Text(one.modes, "yellow" if one.modes != "open" else "green"),
            clock(one.paused_since) if one.paused else "",
            f"{one.used:g} of {one.max_workers:g}{ordered}",
            f"{one.used_db:g} of {one.max_db_workers:g}",
            str(one.running),
            str(one.waiting),
            f"{one.agents}{silent}",
            ago(one.last_seen, now),
        )
    return found


def command_show(backend: str, *, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap backend show``; its exit code."""
    settings = environment.enter(data)
    slug = environment.backend_of(backend, settings)
    row = environment.open_records().backends([slug]).get(slug)
    if row is None:
        raise RapError(
            f"Nothing is known of backend '{slug}' yet: the controller worker has never run "
            "with it among its BACKENDS."
        )
    if as_json:
        show.print_json({"backend": slug, "state": row.model_dump(mode="json")})
        return 0
    out = show.console()
    for line in _lines(row, time.time()):
        show.say(out, line)
    return 0


def _lines(row: BackendRow, now: float) -> Iterator[str]:
    one = glance(row.slug, row, now)
    yield f"Backend {row.slug}: {one.modes}"
    yield f"  paused          {_switch(on=row.paused, since=row.paused_since)}"
    kind = f" ({row.maintenance_type.value})" if row.maintenance and row.maintenance_type else ""
    yield f"  db-maintenance  {_switch(on=row.maintenance, since=row.maintenance_since)}{kind}"
    checks = _switch(on=not row.checks_disabled, since=row.checks_disabled_since)
    yield f"  its checks      {checks}"
    source = "ordered" if row.limits_ordered else "as configured"
    yield f"  workers         {one.used:g} of {one.max_workers:g} ({source})"
    yield f"  db workers      {one.used_db:g} of {one.max_db_workers:g} ({source})"
    yield f"  jobs            {one.running} running, {one.waiting} in the queue"
    for rap_id, level in sorted(row.priorities.items(), key=lambda item: (item[1], item[0])):
        yield f"  priority        {level} for RAP {rap_id}"
    yield f"  last seen       {ago(row.last_seen, now)}"
    yield "Agents" if row.agents else "Agents: none has ever reported"
    for agent in row.agents:
        yield f"  {_agent(agent, now)}"
    if row.orders:
        yield "Orders, the latest first"
        for order in row.orders[: -_RECENT_ORDERS - 1 : -1]:
            yield f"  {_order(order)}"


def _switch(*, on: bool, since: float | None) -> str:
    known = f" since {clock(since)}" if since is not None else ""
    return f"{'on' if on else 'off'}{known}"


def _agent(agent: AgentReport, now: float) -> str:
    engine = f"Docker {agent.engine}" if agent.engine else "Docker does not answer"
    disk = agent.free_disk_bytes
    free = "free disk unknown" if disk is None else f"{disk / _MIB / 1024:.1f} GiB free"
    silent = "  OUT OF CONTACT" if now - agent.at > SILENT_AFTER_S else ""
    return (
        f"{agent.host}: version {agent.version}, {engine}, {free}, {len(agent.jobs)} running, "
        f"room for {agent.room} more, reported {ago(agent.at, now)}{silent}"
    )


def _order(order: OrderEntry) -> str:
    detail = f" {order.detail}" if order.detail else ""
    by = f" by {order.by}" if order.by else ""
    why = f": {order.why}" if order.why else ""
    return f"{clock(order.at)}  {order.kind.value}{detail}{by}{why}"
