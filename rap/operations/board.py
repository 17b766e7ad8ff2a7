"""What operators see of a backend at a glance: its switches, its slots, its queue. Pure."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from rap.egress import SILENT_AFTER_S
from rap.operations.estimates import Durations, likely_waits
from rap.presentation import whole_seconds
from rap.rows import BackendRow, MaintenanceType
from rap.status import State


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
        return ", ".join(modes) or "open"


def glance(slug: str, row: BackendRow | None, now: float) -> Glance:
    """A backend at a glance; one that never ran is empty."""
    row = row or BackendRow(slug=slug, version=0, updated_at=0)
    alive = sum(agent.at > now - SILENT_AFTER_S for agent in row.agents)
    return Glance(
        backend=slug,
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


class Board(NamedTuple):
    """A backend with its unfinished jobs."""

    glance: Glance
    running: list[JobLine]
    waiting: list[JobLine]
    """In the order of the queue; after them those that do not ask for a slot yet."""


def board(
    row: BackendRow, jobs: Mapping[str, Mapping[str, Any]], past: Durations, now: float
) -> Board:
    """A backend with its unfinished jobs.

    Args:
        row: the backend.
        jobs: job id to each of its unfinished jobs as readers see it (rap-api.md A8.2), with its
            ``workspace``.
        past: durations of its earlier jobs.
        now: seconds since the epoch.
    """
    actions = {job_id: str(job["action"]) for job_id, job in jobs.items()}
    waits = likely_waits(row, actions, past, now)
    running = [
        _line(
            slot.model_dump(),
            jobs,
            past.remaining(
                slot.workspace,
                actions.get(slot.job_id, ""),
                requires_db=slot.requires_db,
                elapsed=max(0.0, now - slot.since),
            ),
        )
        for slot in row.slots
    ]
    waiting = [_line(entry.model_dump(), jobs, waits[entry.job_id]) for entry in row.queue]
    placed = {line.job_id for line in (*running, *waiting)}
    others = [
        _line({**_of_job(job), "since": None}, jobs, None)
        for job_id, job in jobs.items()
        if job_id not in placed and job["status"] == State.PENDING
    ]
    return Board(glance(row.slug, row, now), running, [*waiting, *others])


def _of_job(job: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "job_id": job["identifier"],
        "rap_id": job["rap_id"],
        "workspace": job["workspace"],
        "requires_db": job["requires_db"],
        "weight": job["weight"],
    }


def _line(
    entry: Mapping[str, Any], jobs: Mapping[str, Mapping[str, Any]], seconds: float | None
) -> JobLine:
    job = jobs.get(entry["job_id"], {})
    return JobLine(
        job_id=entry["job_id"],
        rap_id=entry["rap_id"],
        workspace=entry["workspace"],
        action=job.get("action", ""),
        requires_db=entry["requires_db"],
        weight=entry["weight"],
        host=entry.get("host", ""),
        since=entry["since"],
        status_code=job.get("status_code", ""),
        why=job.get("status_message", ""),
        seconds=seconds,
    )
