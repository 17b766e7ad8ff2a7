"""``rap queue``: who runs on a backend, who waits, why, and until when, likely.

From the read model alone: it works while Temporal is down.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rap.cli import environment, show
from rap.operations.board import Board, Glance, JobLine, board
from rap.operations.estimates import Durations, Took, wait_words
from rap.operations.moments import ago, roughly
from rap.presentation import BackendView, present
from rap.records import Records
from rap.records.history import JobFilter
from rap.rows import BackendRow

MOST_LINES = 50
"""Waiting jobs of a backend that are shown on a terminal, unless all are asked for."""


def command(backend: str | None, *, everything: bool, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap queue``; its exit code."""
    settings = environment.enter(data)
    slugs = (environment.backend_of(backend, settings),) if backend else settings.backends
    boards = look(environment.open_records(), slugs, time.time())
    if as_json:
        show.print_json({"backends": [document(one) for one in boards]})
        return 0
    out = show.console()
    # Of the others nothing is known that would be worth a line.
    shown = [one for one in boards if backend or one.glance.last_seen or one.waiting]
    for one in shown or boards:
        out.print(table(one, most=None if everything else MOST_LINES))
    return 0


def look(
    records: Records,
    slugs: Sequence[str],
    now: float,
    past: dict[str, Durations] | None = None,
) -> list[Board]:
    """The boards of some backends as the read model has them.

    Args:
        records: the read model.
        slugs: the backends.
        now: seconds since the epoch.
        past: durations of their earlier jobs, if they have been read already.
    """
    seen = records.seen(records.active_raps(slugs), slugs)
    unfinished = JobFilter(backends=tuple(slugs), unfinished=True)
    workspaces = {job.rap_id: job.workspace for job in records.find_jobs(unfinished)}
    rows = records.backends(slugs)
    boards = []
    for slug in slugs:
        row = rows.get(slug) or BackendRow(slug=slug, version=0, updated_at=0)
        view = BackendView(row)
        jobs = {
            job.id: {
                **present(job, view, now, seen.awaited),
                "workspace": workspaces.get(job.rap_id, ""),
                "weight": job.weight,
            }
            for job in seen.jobs
            if job.backend == slug and not job.status_code.is_final
        }
        durations = past[slug] if past is not None else durations_of(records, slug)
        boards.append(board(row, jobs, durations, now))
    return boards


def durations_of(records: Records, slug: str) -> Durations:
    """How long the earlier jobs of a backend took."""
    return Durations(
        Took(job.workspace, job.action, job.requires_db, job.completed_at - job.started_at)
        for job in records.past_jobs(slug)
    )


def document(one: Board) -> dict[str, object]:
    """A board for programs."""
    return {
        **one.glance._asdict(),
        "running": [line.document for line in one.running],
        "waiting": [line.document for line in one.waiting],
    }


def table(one: Board, *, most: int | None) -> RenderableType:
    """A board for people."""
    now = time.time()
    parts: list[RenderableType] = [Text(headline(one.glance, now), "bold")]
    if one.running or one.waiting:
        parts.append(_jobs(one, most, now))
    more = 0 if most is None else len(one.waiting) - most
    if more > 0:
        parts.append(Text(f"… and {more} more that wait; --all shows them"))
    return Group(*parts, Text())


def headline(glance: Glance, now: float) -> str:
    """A backend in a line."""
    return (
        f"{glance.backend}: {glance.modes}; workers {glance.used:g} of {glance.max_workers:g}, "
        f"db workers {glance.used_db:g} of {glance.max_db_workers:g}; {glance.running} running, "
        f"{glance.waiting} in the queue; last seen {ago(glance.last_seen, now)}"
    )


def _jobs(one: Board, most: int | None, now: float) -> Table:
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "workspace", "action", "db", "RAP", "since", "likely"):
        found.add_column(heading, no_wrap=True)
    found.add_column("why", overflow="fold", min_width=20)
    for line in one.running:
        left = "unknown" if line.seconds is None else f"{roughly(line.seconds)} more"
        _add(found, line, "runs", left, "cyan", now)
    for number, line in enumerate(one.waiting[:most], 1):
        place = str(number) if line.since is not None else "-"
        wait = "" if line.since is None else wait_words(line.seconds)
        _add(found, line, place, wait, "", now)
    return found


def _add(found: Table, line: JobLine, place: str, likely: str, style: str, now: float) -> None:
    found.add_row(
        Text(place, style),
        Text(line.workspace),
        Text(line.action),
        "db" if line.requires_db else "",
        Text(line.rap_id),
        "" if line.since is None else ago(line.since, now),
        likely,
        Text(f"on {line.host}: {line.why}" if line.host else line.why),
    )
