"""What the Web UI shows about a backend: its switches, slots, queue, agents and orders. Pure."""

from collections.abc import Iterator

from rap import ids
from rap.egress import SILENT_AFTER_S, AgentReport, Fault, JobProgress, Stage
from rap.messages.backends import BackendLimits
from rap.messages.orders import USUAL_PRIORITY
from rap.rows import BackendRow, HoldUp, OrderEntry, QueueEntry
from rap.sentences import OTHER_STORAGE_REMEDY
from workflows.backend.state import MOST_WAITING
from workflows.markdown import (
    brief,
    code,
    details,
    moment,
    page,
    plain,
    summary,
    table,
    workflow_link,
)
from workflows.texts import Texts

MOST_RUNNING = 50
MOST_AGENTS = 20
MOST_ORDERS = 10
MOST_PRIORITIES = 20
_LONGEST_WHY = 100
_GIB = 1024**3


def backend_texts(slug: str) -> Texts:
    """What the workflow of a backend is for."""
    return Texts(
        summary(f"Backend {slug}: slots, queue, switches, agents"),
        details(
            f"Backend {code(slug)}: grants the worker slots, and takes the orders of operators as "
            "signals: `pause`, `database_maintenance`, `prepare_for_reboot`, `limits`, "
            "`prioritise`, `host_lost`."
        ),
    )


def backend_details(
    row: BackendRow, *, configured: BackendLimits | None = None, namespace: str = "default"
) -> str:
    """A backend as it is now, by its own account and with the capacity of the settings."""
    return page(*_parts(row, configured, namespace))


def _parts(row: BackendRow, configured: BackendLimits | None, namespace: str) -> Iterator[str]:
    yield f"**Backend {code(row.slug)}** as of {moment(row.updated_at)}; all times are UTC"
    yield "\n".join(f"- {line}" for line in _modes(row))
    yield "\n".join(f"- {line}" for line in _capacity(row, configured))
    yield f"**{len(row.slots)} running**"
    running = ("action", "workspace", "stage", "host", "since", "database")
    yield from table(running, _running(row, namespace), len(row.slots), most=MOST_RUNNING)
    yield f"**{row.waiting} waiting**, in the order in which they will be considered"
    waiting = ("", "action", "workspace", "RAP", "since", "database", "priority")
    yield from table(waiting, _waiting(row, namespace), row.waiting, most=MOST_WAITING)
    yield f"**{len(row.agents)} agent{'' if len(row.agents) == 1 else 's'}**"
    facts = ("host", "last seen", "version", "Docker", "free disk", "jobs", "containers", "takes")
    yield from table(facts, _agents(row), len(row.agents), most=MOST_AGENTS)
    if any(Fault.OTHER_STORAGE in agent.closed for agent in row.agents):
        yield f"**{Fault.OTHER_STORAGE.value}:** {OTHER_STORAGE_REMEDY}"
    if row.priorities:
        yield "**Priorities**"
    urgent = _priorities(row, namespace)
    yield from table(("RAP", "priority"), urgent, len(row.priorities), most=MOST_PRIORITIES)
    if row.orders:
        yield "**Last orders**"
    latest = row.orders[-MOST_ORDERS:]
    orders = _orders(latest, row.updated_at)
    yield from table(("when", "order", "by", "why"), orders, len(latest), most=MOST_ORDERS)


def _modes(row: BackendRow) -> Iterator[str]:
    since = f" since {moment(row.paused_since)}" if row.paused else ""
    yield f"Paused: {'**yes**' if row.paused else 'no'}{since}"
    if row.maintenance:
        kind = f" ({row.maintenance_type.value})" if row.maintenance_type else ""
        yield f"Database maintenance: **yes**{kind} since {moment(row.maintenance_since)}"
    else:
        yield "Database maintenance: no"
    if row.checks_disabled:
        yield "The database is not asked about it (checks disabled)"
    if row.windows:
        yield f"Open maintenance windows: {', '.join(_windows(row))}"
    if row.hold_up is HoldUp.NO_AGENT:
        yield f"**No agent is in contact** since {moment(row.last_seen)}: nothing starts"
    if row.hold_up is HoldUp.CLOSED:
        yield "**No host can start jobs**, as the table of agents says; they go on by themselves"


def _windows(row: BackendRow) -> Iterator[str]:
    for name, window in row.windows.items():
        until = "" if window.until is None else f" until {moment(window.until)}"
        lost = ""
        if window.missing:
            now = code(window.kind.ended_by(row.slug))
            lost = f", **its workflow is missing**: it ends by itself, or now with {now}"
        yield f"{code(name)} ({window.kind.value}){until}{lost}"


def _capacity(row: BackendRow, configured: BackendLimits | None) -> Iterator[str]:
    used = {False: 0.0, True: 0.0}
    for slot in row.slots:
        used[slot.requires_db] += slot.weight
    pools = (
        ("Workers", False, row.max_workers, configured and configured.max_workers),
        ("Database workers", True, row.max_db_workers, configured and configured.max_db_workers),
    )
    for name, requires_db, limit, settings in pools:
        line = f"{name}: {used[requires_db]:g} of {limit:g} in use"
        if row.limits_ordered and settings != limit:
            line += ", **ordered**" + (f" (configured {settings:g})" if settings else "")
        yield line


def _running(row: BackendRow, namespace: str) -> Iterator[tuple[str, ...]]:
    stages = {job.job_id: job for agent in row.agents for job in agent.jobs}
    silent = {agent.host for agent in row.agents if _is_silent(agent, row.updated_at)}
    for slot in row.slots:
        stage = _stage(stages.get(slot.job_id))
        yield (
            workflow_link(
                slot.action or slot.job_id,
                ids.job_workflow_id(slot.workspace, slot.action, slot.job_id),
                namespace,
            ),
            code(slot.workspace, 60),
            f"{stage} (out of contact)" if slot.host in silent else stage,
            code(slot.host),
            brief(slot.since, row.updated_at),
            _kind(slot),
        )


def _stage(progress: JobProgress | None) -> str:
    if progress is None:
        return "handed over"
    trouble = f", trouble: {progress.trouble.value}" if progress.trouble else ""
    return f"{progress.stage.value}{trouble}"


def _waiting(row: BackendRow, namespace: str) -> Iterator[tuple[str, ...]]:
    for place, entry in enumerate(row.queue, 1):
        yield (
            str(place),
            plain(entry.action, 60) or code(entry.job_id),
            code(entry.workspace, 60),
            workflow_link(
                entry.rap_id, ids.rap_workflow_id(entry.workspace, entry.rap_id), namespace
            ),
            brief(entry.since, row.updated_at),
            _kind(entry),
            str(row.priorities.get(entry.rap_id, USUAL_PRIORITY)),
        )


def _agents(row: BackendRow) -> Iterator[tuple[str, ...]]:
    for agent in row.agents:
        contact = "**out of contact** since " if _is_silent(agent, row.updated_at) else ""
        free = agent.free_disk_bytes
        yield (
            code(agent.host),
            f"{contact}{brief(agent.at, row.updated_at)}",
            plain(agent.version, 40),
            plain(agent.engine, 40) if agent.engine else "**does not answer**",
            "unknown" if free is None else f"{free / _GIB:.1f} GiB",
            str(len(agent.jobs)),
            str(sum(job.stage is Stage.EXECUTING for job in agent.jobs)),
            _takes(agent),
        )


def _takes(agent: AgentReport) -> str:
    """What an agent takes, and what it does not for the time being."""
    closed = [fault.value for fault in agent.closed]
    if agent.missing_images:
        closed.append(f"{len(agent.missing_images)} images missing")
    return f"{agent.room} more" + (f", **{', '.join(closed)}**" if closed else "")


def _priorities(row: BackendRow, namespace: str) -> Iterator[tuple[str, ...]]:
    workspaces = {entry.rap_id: entry.workspace for entry in (*row.queue, *row.slots)}
    for rap_id, priority in sorted(row.priorities.items(), key=lambda one: (one[1], one[0])):
        workspace = workspaces.get(rap_id)
        if workspace is None:
            # None of its jobs runs or waits for a slot now.
            yield code(rap_id), str(priority)
        else:
            rap = ids.rap_workflow_id(workspace, rap_id)
            yield workflow_link(rap_id, rap, namespace), str(priority)


def _orders(orders: tuple[OrderEntry, ...], now: float) -> Iterator[tuple[str, ...]]:
    for order in reversed(orders):
        yield (
            brief(order.at, now),
            plain(f"{order.kind.value} {order.detail}".strip()),
            plain(order.by, 40) or "unknown",
            plain(order.why, _LONGEST_WHY),
        )


def _is_silent(agent: AgentReport, now: float) -> bool:
    return agent.at <= now - SILENT_AFTER_S


def _kind(entry: QueueEntry) -> str:
    weight = f", weight {entry.weight:g}" if entry.weight != 1 else ""
    return f"{'yes' if entry.requires_db else 'no'}{weight}"
