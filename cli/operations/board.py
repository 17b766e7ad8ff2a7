"""What operators see of a backend at a glance: its switches, its slots, its queue."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli.console import plain_table
from cli.operations.estimates import Durations, Took, likely_waits, remaining, wait_words
from rap.durations import ago, roughly
from rap.egress import SILENT_AFTER_S
from rap.records import Records
from rap.records.history import JobFilter
from rap.rows import BackendRow, HoldUp, MaintenanceType
from rap.status import State
from rap.status_answers import BackendView, present, whole_seconds


class Glance(NamedTuple):
    """A backend in a line."""

    backend: str
    paused: bool
    paused_since: float | None
    maintenance: MaintenanceType | None
    checks_disabled: bool
    used: float
    max_workers: float
    used_db: float
    max_db_workers: float
    limits_ordered: bool
    running: int
    waiting: int
    agents: int
    """Those that report."""
    silent_agents: int
    last_seen: float | None
    is_closed: bool
    """Whether all that report say that they cannot start jobs."""

    @property
    def modes(self) -> str:
        """What keeps jobs from starting; ``open`` if nothing does."""
        modes = ["paused"] if self.paused else []
        if self.maintenance is not None:
            modes.append(f"db-maintenance ({self.maintenance.value})")
        if self.checks_disabled:
            modes.append("checks disabled")
        if not self.agents:
            modes.append("no agent")
        if self.is_closed:
            modes.append("no host can start jobs")
        return ", ".join(modes) or "open"


def rows_of(records: Records, slugs: Sequence[str]) -> list[BackendRow]:
    """Backends as the read model has them; one that never ran is empty."""
    rows = records.backends(slugs)
    return [rows.get(slug) or BackendRow(slug=slug, version=0, updated_at=0) for slug in slugs]


def glance(row: BackendRow, now: float) -> Glance:
    """A backend at a glance."""
    alive = sum(agent.at > now - SILENT_AFTER_S for agent in row.agents)
    return Glance(
        backend=row.slug,
        paused=row.paused,
        paused_since=row.paused_since,
        maintenance=row.maintenance_type if row.maintenance else None,
        checks_disabled=row.checks_disabled,
        used=_used(row, requires_db=False),
        max_workers=row.max_workers,
        used_db=_used(row, requires_db=True),
        max_db_workers=row.max_db_workers,
        limits_ordered=row.limits_ordered,
        running=len(row.slots),
        waiting=len(row.queue),
        agents=alive,
        silent_agents=len(row.agents) - alive,
        last_seen=row.last_seen,
        is_closed=row.hold_up is HoldUp.CLOSED,
    )


def _used(row: BackendRow, *, requires_db: bool) -> float:
    return sum(slot.weight for slot in row.slots if slot.requires_db is requires_db)


class JobLine(NamedTuple):
    """An unfinished job of a backend."""

    job_id: str
    rap_id: str
    workspace: str
    action: str
    requires_db: bool
    weight: float
    host: str
    """Where it runs; empty while it waits."""
    since: float | None
    """Since when it holds its slot, or waits for one; ``None``: it does not ask for one yet."""
    status_code: str
    why: str
    """The sentence that its requester reads."""
    seconds: float | None
    """Until it likely ends, or starts; ``None``: not known."""

    @property
    def document(self) -> dict[str, Any]:
        """The same for programs."""
        since = None if self.since is None else whole_seconds(int(self.since))
        given = self._asdict()
        seconds = given.pop("seconds")
        name = "likely_end_in_s" if self.host else "likely_start_in_s"
        return {**given, "since": since, name: None if seconds is None else round(seconds)}


_OF_THE_ENTRY = ("job_id", "rap_id", "workspace", "requires_db", "weight", "since")


class Board(NamedTuple):
    """A backend with its unfinished jobs."""

    glance: Glance
    running: list[JobLine]
    waiting: list[JobLine]
    """In the order of the queue; after them those that do not ask for a slot yet."""

    @property
    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            **self.glance._asdict(),
            "running": [line.document for line in self.running],
            "waiting": [line.document for line in self.waiting],
        }


def look(
    records: Records, slugs: Sequence[str], now: float, past: Mapping[str, Durations] | None = None
) -> list[Board]:
    """The boards of some backends as the read model has them.

    ``past``: how long their earlier jobs took, if that has been read already.
    """
    seen = records.read_status(records.active_raps(slugs), slugs)
    unfinished = JobFilter(backends=tuple(slugs), unfinished=True)
    workspaces = {job.rap_id: job.workspace for job in records.find_jobs(unfinished)}
    boards = []
    for row in rows_of(records, slugs):
        view = BackendView(row)
        jobs = {
            job.id: {
                **present(job, view, now, seen.awaited),
                "workspace": workspaces.get(job.rap_id, ""),
                "weight": job.weight,
            }
            for job in seen.jobs
            if job.backend == row.slug and not job.status_code.is_final
        }
        durations = past[row.slug] if past is not None else durations_of(records, row.slug)
        boards.append(_board(row, jobs, durations, now))
    return boards


def durations_of(records: Records, slug: str) -> Durations:
    """How long the earlier jobs of a backend took."""
    return Durations(
        Took(job.workspace, job.action, job.requires_db, job.completed_at - job.started_at)
        for job in records.past_jobs(slug)
    )


def _board(
    row: BackendRow, jobs: Mapping[str, Mapping[str, Any]], past: Durations, now: float
) -> Board:
    """``jobs``: job id to each unfinished one as readers see it (docs/spec/rap-api.md A8.2)."""
    actions = {job_id: str(job["action"]) for job_id, job in jobs.items()}
    waits = likely_waits(row, actions, past, now)
    running = [
        _line(slot.model_dump(), jobs, remaining(slot, actions, past, now)) for slot in row.slots
    ]
    waiting = [_line(entry.model_dump(), jobs, waits[entry.job_id]) for entry in row.queue]
    placed = {line.job_id for line in (*running, *waiting)}
    others = [
        _line({**job, "job_id": job_id, "since": None}, jobs, None)
        for job_id, job in jobs.items()
        if job_id not in placed and job["status"] == State.PENDING
    ]
    return Board(glance(row, now), running, [*waiting, *others])


def _line(
    entry: Mapping[str, Any], jobs: Mapping[str, Mapping[str, Any]], seconds: float | None
) -> JobLine:
    job = jobs.get(entry["job_id"], {})
    return JobLine(
        **{name: entry[name] for name in _OF_THE_ENTRY},
        action=job.get("action", ""),
        host=entry.get("host", ""),
        status_code=job.get("status_code", ""),
        why=job.get("status_message", ""),
        seconds=seconds,
    )


# --- for people ---


def table(one: Board, *, most: int | None) -> RenderableType:
    """A board with at most so many waiting jobs."""
    now = time.time()
    parts: list[RenderableType] = [Text(headline(one.glance, now), "bold")]
    if one.running or one.waiting:
        parts.append(_jobs(one, most, now))
    more = 0 if most is None else len(one.waiting) - most
    if more > 0:
        parts.append(f"… and {more} more that wait; --all shows them")
    return Group(*parts, "")


def headline(glance: Glance, now: float) -> str:
    """A backend in a line."""
    return (
        f"{glance.backend}: {glance.modes}; workers {glance.used:g} of {glance.max_workers:g}, "
        f"db workers {glance.used_db:g} of {glance.max_db_workers:g}; {glance.running} running, "
        f"{glance.waiting} in the queue; last seen {ago(glance.last_seen, now)}"
    )


def _jobs(one: Board, most: int | None, now: float) -> Table:
    headings = ("", "workspace", "action", "db", "RAP", "since", "likely", "why")
    found = plain_table(*headings, folded=["why"])

    def add(line: JobLine, place: str, likely: str, style: str) -> None:
        found.add_row(
            Text(place, style),
            line.workspace,
            line.action,
            "db" if line.requires_db else "",
            line.rap_id,
            "" if line.since is None else ago(line.since, now),
            likely,
            f"on {line.host}: {line.why}" if line.host else line.why,
        )

    for line in one.running:
        left = "unknown" if line.seconds is None else f"{roughly(line.seconds)} more"
        add(line, "runs", left, "cyan")
    for number, line in enumerate(one.waiting[:most], 1):
        place = str(number) if line.since is not None else "-"
        add(line, place, "" if line.since is None else wait_words(line.seconds), "")
    return found
