"""What a status answer needs, in one transaction (docs/spec/rap-api.md A8).

The busiest read of all: a client asks for thousands of jobs every minute. So it takes the columns
that are shown and no others, and leaves structured values as the JSON text they are stored as.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, select

from rap.records.reads import Reads, intents
from rap.records.tables import among, job
from rap.rows import BackendRow, Intent
from rap.status import StatusCode
from rap.stored_jobs import AwaitedJob, StatusRow


class StatusRead(NamedTuple):
    """What is known of some RAPs at one moment."""

    jobs: list[StatusRow]
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
    moments: dict[str, float]
    """What time it is for each of them (:meth:`rap.records.reads.Reads.moment_of`)."""


NOTHING_READ = StatusRead([], frozenset(), {}, {}, {}, {})

_COLUMNS = tuple(job.c[name] for name in StatusRow._fields)
_CODES: dict[str, StatusCode] = {code.value: code for code in StatusCode}


def status_rows(
    connection: Connection, rap_ids: Collection[str], backends: Collection[str]
) -> tuple[list[StatusRow], frozenset[str]]:
    """The jobs of these RAPs on these backends, and the RAPs that cannot be read."""
    statement = (
        select(*_COLUMNS)
        .where(among(connection, job.c.rap_id, rap_ids), job.c.backend.in_(backends))
        .order_by(job.c.rap_id, job.c.position)
    )
    rows = connection.execute(statement).all()
    try:
        return [StatusRow(_CODES[row[0]], *row[1:]) for row in rows], frozenset()
    except KeyError:
        unreadable = frozenset(row.rap_id for row in rows if row.status_code not in _CODES)
        readable = (row for row in rows if row.rap_id not in unreadable)
        return [StatusRow(_CODES[row[0]], *row[1:]) for row in readable], unreadable


def awaited_by(connection: Connection, jobs: Iterable[StatusRow]) -> dict[str, AwaitedJob]:
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


class StatusReads(Reads):
    """What status answers are made from."""

    def read_status(self, rap_ids: Collection[str], backends: Collection[str]) -> StatusRead:
        """All that a status answer about these RAPs needs, as it is at one moment."""
        if not rap_ids or not backends:
            return NOTHING_READ
        with self._reading() as connection:
            jobs, unreadable = status_rows(connection, rap_ids, backends)
            having = {each.rap_id for each in jobs} | unreadable
            missing = [rap_id for rap_id in rap_ids if rap_id not in having]
            rows = self._whole_rows(connection, {job.backend for job in jobs})
            return StatusRead(
                jobs=jobs,
                unreadable=unreadable,
                awaited=awaited_by(connection, jobs),
                intents=intents(connection, missing) if missing else {},
                backends=rows,
                moments={slug: self.moment_of(row) for slug, row in rows.items()},
            )

    def active_raps(self, backends: Collection[str]) -> list[str]:
        """The RAPs that have an unfinished job on these backends."""
        statement = (
            select(job.c.rap_id)
            .where(job.c.backend.in_(backends), job.c.completed_at.is_(None))
            .distinct()
            .order_by(job.c.rap_id)
        )
        with self._reading() as connection:
            return list(connection.scalars(statement))
