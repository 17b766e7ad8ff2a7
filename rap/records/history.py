"""Looking back over jobs: for people, not for programs that ask often."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import case, func, select

from rap.records.reads import Reads
from rap.records.tables import JOB_COLUMNS, job
from rap.status import FINAL_CODES, StatusCode
from rap.stored_jobs import StoredJob

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


class History(Reads):
    """Looks at past jobs. May read all jobs of a backend."""

    def find_jobs(self, wanted: JobFilter, limit: int | None = None) -> list[StoredJob]:
        """The jobs that fit, newest first."""
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
            codes = [code.value for code in wanted.codes]
            statement = statement.where(job.c.status_code.in_(codes))
        if wanted.unfinished:
            statement = statement.where(job.c.completed_at.is_(None))
        statement = statement.order_by(job.c.created_at.desc(), job.c.rap_id, job.c.position)
        return self._jobs(statement.limit(limit))

    def past_jobs(self, backend: str) -> list[PastJob]:
        """The latest jobs of a backend that succeeded."""
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
        with self._reading() as connection:
            return [PastJob._make(row) for row in connection.execute(statement)]

    def latest_raps(self, backends: Collection[str], limit: int | None = None) -> list[str]:
        """The RAPs of these backends: those with unfinished jobs first, then the newest first."""
        if not backends:
            return []
        finished = job.c.status_code.in_([code.value for code in FINAL_CODES])
        statement = (
            select(job.c.rap_id)
            .where(job.c.backend.in_(backends))
            .group_by(job.c.rap_id)
            .order_by(
                func.max(case((finished, 0), else_=1)).desc(),
                func.max(job.c.created_at).desc(),
                job.c.rap_id,
            )
            .limit(limit)
        )
        with self._reading() as connection:
            return list(connection.scalars(statement))
