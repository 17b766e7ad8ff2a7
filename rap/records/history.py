"""Looking back over jobs: for people, not for programs that ask often."""

from typing import NamedTuple

from sqlalchemy import Connection, select

from rap.records.tables import JOB_COLUMNS, StoredJob, job, stored_job
from rap.status import StatusCode

MOST_PAST_JOBS = 5000
"""The newest ones of a backend, from which durations are taken."""


class JobFilter(NamedTuple):
    """Which jobs are looked for; what is empty or ``None`` does not matter."""

    backends: tuple[str, ...] = ()
    workspace: str = ""
    action: str = ""
    rap_id: str = ""
    created_since: float | None = None
    """Seconds since the epoch."""
    codes: tuple[StatusCode, ...] = ()
    """Status codes as they are stored; readers may be shown others of waiting jobs."""
    unfinished: bool = False
    """Only jobs that are not over."""


class PastJob(NamedTuple):
    """When a job that succeeded ran."""

    workspace: str
    action: str
    requires_db: bool
    started_at: int
    completed_at: int


def find_jobs(connection: Connection, wanted: JobFilter, limit: int | None) -> list[StoredJob]:
    """See :meth:`rap.records.Records.find_jobs`."""
    statement = select(*JOB_COLUMNS)
    if wanted.backends:
        statement = statement.where(job.c.backend.in_(wanted.backends))
    for column, value in (
        (job.c.workspace, wanted.workspace),
        (job.c.action, wanted.action),
        (job.c.rap_id, wanted.rap_id),
    ):
        if value:
            statement = statement.where(column == value)
    if wanted.created_since is not None:
        statement = statement.where(job.c.created_at >= wanted.created_since)
    if wanted.codes:
        statement = statement.where(job.c.status_code.in_([code.value for code in wanted.codes]))
    if wanted.unfinished:
        statement = statement.where(job.c.completed_at.is_(None))
    statement = statement.order_by(job.c.created_at.desc(), job.c.rap_id, job.c.position)
    return [stored_job(row) for row in connection.execute(statement.limit(limit))]


def past_jobs(connection: Connection, backend: str) -> list[PastJob]:
    """See :meth:`rap.records.Records.past_jobs`."""
    statement = (
        select(*(job.c[name] for name in PastJob._fields))
        .where(
            job.c.backend == backend,
            job.c.status_code == StatusCode.SUCCEEDED.value,
            job.c.started_at.is_not(None),
            job.c.completed_at.is_not(None),
        )
        .order_by(job.c.completed_at.desc())
        .limit(MOST_PAST_JOBS)
    )
    return [PastJob._make(row) for row in connection.execute(statement)]
