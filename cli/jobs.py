"""``rap jobs``: jobs that fit, newest first, from the read model alone."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from cli import environment
from cli.console import COLOURS, plain_table, reply
from cli.options import Data, Json
from rap import durations
from rap.durations import clock, roughly
from rap.errors import ConfigurationError
from rap.status import State, StatusCode

if TYPE_CHECKING:
    from cli.rap_jobs import Job
    from rap.records import Records
    from rap.records.history import JobFilter


def jobs(
    *,
    backend: Annotated[str | None, typer.Option(help="Of this backend.")] = None,
    workspace: Annotated[str | None, typer.Option(help="Of this workspace.")] = None,
    action: Annotated[str | None, typer.Option(help="Of this action.")] = None,
    status: Annotated[
        str | None, typer.Option(help="A state or status code, as failed, nonzero_exit.")
    ] = None,
    rap: Annotated[str | None, typer.Option(help="Of this RAP.")] = None,
    since: Annotated[str | None, typer.Option(help="Created since 4h, 2d, 2026-01-31 …")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most that are shown.")] = 50,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the jobs that fit all filters, the newest first.

    Example: rap jobs --status failed --since 2d
    """
    from rich.text import Text

    from cli.rap_jobs import moment
    from rap.records.history import JobFilter

    fits = JobFilter(
        backends=environment.backends_of(backend, environment.enter(data)),
        workspace=workspace or "",
        action=action or "",
        rap_id=rap or "",
        created_since=(
            None if since is None else durations.since(since, time.time(), option="--since")
        ),
    )
    found = _find(environment.open_records(), fits, status, limit)
    headings = ("created", "backend", "workspace", "action", "RAP", "code", "took", "message")
    table = plain_table(*headings, folded=["message"])
    for job in found:
        table.add_row(
            clock(moment(job["created_at"])),
            job["backend"],
            job["workspace"],
            job["action"],
            job["rap_id"],
            Text(job["status_code"], COLOURS[State(job["status"])]),
            _took(moment(job["started_at"]), moment(job["completed_at"])),
            job["status_message"],
        )
    reply({"jobs": found}, [table if found else "No job fits."], as_json=as_json)


def _find(records: Records, fits: JobFilter, status: str | None, limit: int) -> list[Job]:
    """The newest jobs that fit and have this state or status code for readers."""
    from cli.rap_jobs import as_shown

    shown = _codes(status)
    final = [code for code in shown if code.is_final]
    if shown and len(final) == len(shown):
        fits = fits._replace(codes=tuple(final))
    elif shown and not final:
        fits = fits._replace(unfinished=True)
    # What is shown of a waiting job depends on its backend, too: nobody can ask the store for it.
    by_code = bool(shown) and not fits.codes
    stored = records.find_jobs(fits, limit=None if by_code else limit)
    found = (job for job in as_shown(records, stored) if not shown or job["status_code"] in shown)
    return list(islice(found, limit))


def _codes(status: str | None) -> frozenset[StatusCode]:
    if status is None:
        return frozenset()
    word = status.lower()
    codes = frozenset(code for code in StatusCode if word in (code.value, code.state.value))
    if not codes:
        known = ", ".join(dict.fromkeys([*State, *StatusCode]))
        raise ConfigurationError(f"--status must be one of {known}, not {status!r}")
    return codes


def _took(start: float | None, end: float | None) -> str:
    if start is None or end is None:
        return ""
    return f"{end - start:.0f} s" if end - start < 60 else roughly(end - start)
