"""Every read of the read model."""

from collections.abc import Collection

from sqlalchemy import Connection, case, func, select

from rap.records.tables import (
    JOB_COLUMNS,
    StoredJob,
    TracedJob,
    among,
    backend,
    decode,
    intent,
    job,
    stored_job,
)
from rap.rows import Intent, IntentState, WorkspaceJob
from rap.status import FINAL_CODES, StatusCode


def jobs_of(
    connection: Connection, rap_ids: Collection[str], backends: Collection[str]
) -> list[StoredJob]:
    """See :meth:`rap.records.Records.jobs_of`."""
    statement = (
        select(*JOB_COLUMNS)
        .where(among(connection, job.c.rap_id, rap_ids), job.c.backend.in_(backends))
        .order_by(job.c.rap_id, job.c.position)
    )
    return [stored_job(row) for row in connection.execute(statement)]


def rap(connection: Connection, rap_id: str) -> list[StoredJob]:
    """See :meth:`rap.records.Records.rap`."""
    statement = select(*JOB_COLUMNS).where(job.c.rap_id == rap_id).order_by(job.c.position)
    return [stored_job(row) for row in connection.execute(statement)]


def latest_raps(connection: Connection, backends: Collection[str], limit: int | None) -> list[str]:
    """See :meth:`rap.records.Records.latest_raps`."""
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
    return list(connection.scalars(statement))


def unfinished(connection: Connection) -> list[TracedJob]:
    """See :meth:`rap.records.Records.unfinished`."""
    statement = (
        select(*JOB_COLUMNS, job.c.trace_attributes)
        .where(job.c.completed_at.is_(None))
        .order_by(job.c.backend, job.c.created_at, job.c.id)
    )
    return [
        TracedJob(stored_job(columns), decode(traced))
        for *columns, traced in connection.execute(statement)
    ]


def of_workspace(
    connection: Connection, slug: str, workspace: str, limit: int
) -> list[WorkspaceJob]:
    """See :meth:`rap.records.Records.of_workspace`."""
    columns = [job.c[name] for name in WorkspaceJob._fields]
    statement = (
        select(*columns)
        .where(job.c.workspace == workspace, job.c.backend == slug)
        .order_by(job.c.created_at.desc(), job.c.rap_id, job.c.position.desc())
        .limit(limit)
    )
    found = connection.execute(statement).all()
    return [
        WorkspaceJob._make((*rest, StatusCode(code), tuple(decode(wait_for))))
        for *rest, code, wait_for in reversed(found)
    ]


def intents(connection: Connection, rap_ids: Collection[str]) -> dict[str, Intent]:
    """See :meth:`rap.records.Records.intents`."""
    statement = select(intent).where(among(connection, intent.c.rap_id, rap_ids))
    found = connection.execute(statement).mappings()
    return {row["rap_id"]: Intent.model_validate(row) for row in found}


def unsettled(connection: Connection, before: float) -> list[Intent]:
    """See :meth:`rap.records.Records.unsettled`."""
    statement = (
        select(intent)
        .where(intent.c.state == IntentState.PENDING.value, intent.c.created_at < before)
        .order_by(intent.c.created_at)
    )
    return [Intent.model_validate(row) for row in connection.execute(statement).mappings()]


def backend_versions(connection: Connection, slugs: Collection[str]) -> dict[str, int]:
    """The version of each of these backends that has a row."""
    statement = select(backend.c.slug, backend.c.version).where(backend.c.slug.in_(slugs))
    return {row.slug: row.version for row in connection.execute(statement)}


def backend_documents(connection: Connection, slugs: Collection[str]) -> list[str]:
    """The rows of these backends, as JSON."""
    statement = select(backend.c.document).where(backend.c.slug.in_(slugs))
    return list(connection.scalars(statement))
