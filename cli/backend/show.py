"""``rap backend show``, from the read model alone, also while Temporal is down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from cli import environment
from cli.console import reply
from cli.options import Backend, Data, Json
from rap.durations import ago, clock
from rap.errors import RapError

if TYPE_CHECKING:
    from rap.egress import AgentReport
    from rap.rows import BackendRow, OrderEntry

_MIB = 1024 * 1024
_RECENT_ORDERS = 10


def show(*, backend: Backend, data: Data = None, as_json: Json = False) -> None:
    """Show one backend: switches and their times, limits, priorities, agents, the latest orders.

    It reads the read model alone, so it answers while Temporal is down.

    Example: rap backend show tpp
    """
    slug = environment.backend_of(backend, environment.enter(data))
    row = environment.open_records().backends([slug]).get(slug)
    if row is None:
        raise RapError(
            f"Nothing is known of backend '{slug}' yet: the controller worker has never run "
            "with it among its BACKENDS."
        )
    document = {"backend": slug, "state": row.model_dump(mode="json")}
    reply(document, _lines(row, time.time()), as_json=as_json)


def _lines(row: BackendRow, now: float) -> Iterator[str]:
    from cli.operations.board import glance
    from rap.egress import Fault
    from rap.sentences import OTHER_STORAGE_REMEDY

    one = glance(row, now)
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
        if Fault.OTHER_STORAGE in agent.closed:
            yield f"    {OTHER_STORAGE_REMEDY}"
    if row.orders:
        yield "Orders, the latest first"
        for order in row.orders[: -_RECENT_ORDERS - 1 : -1]:
            yield f"  {_order(order)}"


def _switch(*, on: bool, since: float | None) -> str:
    known = f" since {clock(since)}" if since is not None else ""
    return f"{'on' if on else 'off'}{known}"


def _agent(agent: AgentReport, now: float) -> str:
    from rap.egress import SILENT_AFTER_S

    engine = f"Docker {agent.engine}" if agent.engine else "Docker does not answer"
    disk = agent.free_disk_bytes
    free = "free disk unknown" if disk is None else f"{disk / _MIB / 1024:.1f} GiB free"
    silent = "  OUT OF CONTACT" if now - agent.at > SILENT_AFTER_S else ""
    return (
        f"{agent.host}: version {agent.version}, {engine}, {free}, {len(agent.jobs)} running, "
        f"room for {agent.room} more{_closed(agent)}, reported {ago(agent.at, now)}{silent}"
    )


def _closed(agent: AgentReport) -> str:
    """What keeps the host from starting jobs, or some of them, until it has passed."""
    closed = [fault.value for fault in agent.closed]
    if agent.missing_images:
        closed.append(f"{len(agent.missing_images)} images missing")
    return f" ({', '.join(closed)})" if closed else ""


def _order(order: OrderEntry) -> str:
    detail = f" {order.detail}" if order.detail else ""
    by = f" by {order.by}" if order.by else ""
    why = f": {order.why}" if order.why else ""
    return f"{clock(order.at)}  {order.kind.value}{detail}{by}{why}"
