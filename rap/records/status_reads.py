"""What a status answer needs, in one transaction (rap-api.md A8).

The busiest read of all: a client asks for thousands of jobs every minute. So it takes the columns
that are shown and no others, and leaves structured values as the JSON text they are stored as.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, select

from rap.records import reads
from rap.records.tables import among, job
from rap.rows import BackendRow, Intent
from rap.status import StatusCode


class SeenJob(NamedTuple):
    """The columns of a job that decide what is shown of it; see :class:`StoredJob`."""

    status_code: StatusCode
    id: str
    rap_id: str
    backend: str
    action: str
    run_command: str
    requires_db: bool
    weight: float
    created_at: int
    status_message: str
    updated_at: int
    started_at: int | None
    completed_at: int | None
    trace_context: str
    """JSON, as the next two."""
    metrics: str
    wait_for: str


class AwaitedJob(NamedTuple):
    """A job that another one waits for."""

    action: str
    status_code: StatusCode | None
    """``None``: one that this version does not know."""


class Seen(NamedTuple):
    """What is known of some RAPs at one moment."""

    jobs: list[SeenJob]
    """By RAP, dependencies first."""
    unreadable: frozenset[str]
    """RAPs that have a job whose status code this version does not know; none of their jobs is
    among ``jobs``."""
    awaited: dict[str, AwaitedJob]
    """Job id to each job that a job of ``jobs`` may wait for."""
    intents: dict[str, Intent]
    """The announced creates of those RAPs that have no jobs."""
    backends: dict[str, BackendRow]
    """The backends of the jobs, if they have a row."""


NOTHING_SEEN = Seen([], frozenset(), {}, {}, {})

_COLUMNS = tuple(job.c[name] for name in SeenJob._fields)
_CODES: dict[str, StatusCode] = {code.value: code for code in StatusCode}


def seen_jobs(
    connection: Connection, rap_ids: Collection[str], backends: Collection[str]
) -> tuple[list[SeenJob], frozenset[str]]:
    """The jobs of these RAPs on these backends, and the RAPs that cannot be read."""
    statement = (
        select(*_COLUMNS)
        .where(among(connection, job.c.rap_id, rap_ids), job.c.backend.in_(backends))
        .order_by(job.c.rap_id, job.c.position)
    )
    rows = connection.execute(statement).all()
    try:
        return [SeenJob(_CODES[row[0]], *row[1:]) for row in rows], frozenset()
    except KeyError:
        unreadable = frozenset(row.rap_id for row in rows if row.status_code not in _CODES)
        readable = (row for row in rows if row.rap_id not in unreadable)
        return [SeenJob(_CODES[row[0]], *row[1:]) for row in readable], unreadable


def awaited_by(connection: Connection, jobs: Iterable[SeenJob]) -> dict[str, AwaitedJob]:
    """The jobs that those among ``jobs`` wait for, which wait for others."""
    ids: set[str] = set()
    for each in jobs:
        if each.status_code is StatusCode.WAITING_ON_DEPENDENCIES and each.wait_for != "[]":
            ids.update(orjson.loads(each.wait_for))
    if not ids:
        return {}
    found = {each.id: AwaitedJob(each.action, each.status_code) for each in jobs if each.id in ids}
    elsewhere = ids - found.keys()
    if elsewhere:
        statement = select(job.c.id, job.c.action, job.c.status_code).where(
            among(connection, job.c.id, elsewhere)
        )
        for row in connection.execute(statement):
            found[row.id] = AwaitedJob(row.action, _CODES.get(row.status_code))
    return found


def missing_intents(
    connection: Connection,
    rap_ids: Collection[str],
    jobs: Iterable[SeenJob],
    unreadable: Collection[str],
) -> dict[str, Intent]:
    """The announced creates of those RAPs that have no jobs."""
    having = {each.rap_id for each in jobs} | set(unreadable)
    missing = [rap_id for rap_id in rap_ids if rap_id not in having]
    return reads.intents(connection, missing) if missing else {}


def active_raps(connection: Connection, backends: Collection[str]) -> list[str]:
    """See :meth:`rap.records.Records.active_raps`."""
    statement = (
        select(job.c.rap_id)
        .where(job.c.backend.in_(backends), job.c.completed_at.is_(None))
        .distinct()
        .order_by(job.c.rap_id)
    )
    return list(connection.scalars(statement))
