"""``rap jobs``: jobs that fit, newest first, from the read model alone."""

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from rap.cli import environment, show
from rap.cli.jobs import Job
from rap.errors import ConfigurationError
from rap.operations.moments import clock, roughly, since
from rap.presentation import BackendView, present
from rap.records import Records
from rap.records.history import JobFilter
from rap.status import State, StatusCode


@dataclass(frozen=True)
class Wanted:
    """Which jobs are looked for; what is ``None`` does not matter."""

    backend: str | None = None
    workspace: str | None = None
    action: str | None = None
    status: str | None = None
    rap_id: str | None = None
    since: str | None = None
    limit: int = 50


def command(wanted: Wanted, *, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap jobs``; its exit code."""
    settings = environment.enter(data)
    slugs = (
        (environment.backend_of(wanted.backend, settings),) if wanted.backend else settings.backends
    )
    now = time.time()
    created = None if wanted.since is None else since(wanted.since, now, option="--since")
    fits = JobFilter(
        backends=slugs,
        workspace=wanted.workspace or "",
        action=wanted.action or "",
        rap_id=wanted.rap_id or "",
        created_since=created,
    )
    jobs = find(environment.open_records(), fits, wanted.status, wanted.limit, now)
    if as_json:
        show.print_json({"jobs": jobs})
    elif jobs:
        show.console().print(_table(jobs))
    else:
        show.say(show.console(), "No job fits.")
    return 0


def find(
    records: Records, fits: JobFilter, status: str | None, limit: int, now: float
) -> list[Job]:
    """The newest jobs that fit, as readers see them, with their ``workspace``.

    Args:
        records: the read model.
        fits: what is stored of them.
        status: the state or status code that readers are shown.
        limit: the most that are returned.
        now: seconds since the epoch.

    Raises:
        ConfigurationError: there is no such state or status code.
    """
    shown = _codes(status)
    final = [code for code in shown if code.is_final]
    if shown and len(final) == len(shown):
        fits = fits._replace(codes=tuple(final))
    elif shown and not final:
        fits = fits._replace(unfinished=True)
    # What is shown of a waiting job depends on its backend, too: nobody can ask the store for it.
    by_code = bool(shown) and not fits.codes
    stored = records.find_jobs(fits, limit=None if by_code else limit)
    views = {slug: BackendView(row) for slug, row in records.backends(fits.backends).items()}
    jobs: list[Job] = []
    for job in stored:
        seen = {**present(job, views.get(job.backend), now), "workspace": job.workspace}
        if not shown or seen["status_code"] in shown:
            jobs.append(seen)
        if len(jobs) == limit:
            break
    return jobs


def _codes(status: str | None) -> frozenset[StatusCode]:
    if status is None:
        return frozenset()
    word = status.lower()
    codes = frozenset(code for code in StatusCode if word in (code.value, code.state.value))
    if not codes:
        known = ", ".join(dict.fromkeys([*State, *StatusCode]))
        raise ConfigurationError(f"--status must be one of {known}, not {status!r}")
    return codes


def _table(jobs: list[Job]) -> Table:
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("created", "backend", "workspace", "action", "RAP", "code", "took"):
        found.add_column(heading, no_wrap=True)
    found.add_column("message", overflow="fold", min_width=20)
    for job in jobs:
        found.add_row(
            clock(_moment(job["created_at"])),
            Text(job["backend"]),
            Text(job["workspace"]),
            Text(job["action"]),
            Text(job["rap_id"]),
            Text(job["status_code"], show.COLOURS[State(job["status"])]),
            _took(job),
            Text(job["status_message"]),
        )
    return found


def _took(job: Job) -> str:
    start, end = _moment(job["started_at"]), _moment(job["completed_at"])
    if start is None or end is None:
        return ""
    return f"{end - start:.0f} s" if end - start < 60 else roughly(end - start)


def _moment(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
