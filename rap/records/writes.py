"""Every write of the read model: statements inside a transaction that the caller opened.

A write may be repeated and may come late: rows carry versions (jobs: place in the job's life;
backends: a counter), and only a later one replaces what is there.
"""

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, bindparam, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from rap.records.tables import (
    JOB_COLUMNS,
    Move,
    StoredJob,
    among,
    backend,
    decode,
    encode,
    intent,
    job,
    stored_job,
)
from rap.records.transitions import Life, advance, born
from rap.rows import (
    BackendRow,
    Intent,
    IntentSettlement,
    IntentState,
    JobChange,
    JobRow,
    RapRows,
)


def insert_rap(connection: Connection, rap: RapRows) -> None:
    """Add the jobs of a RAP that are not there yet, and end the intent that announced it."""
    if rap.jobs:
        # Whichever index a simultaneous writer of the same jobs is met at.
        statement = _insert(connection, job).on_conflict_do_nothing()
        connection.execute(statement, [_new_row(row) for row in rap.jobs])
    connection.execute(
        update(intent).where(intent.c.rap_id == rap.rap_id).values(state=IntentState.ACCEPTED.value)
    )


class Changed(NamedTuple):
    """What became of some changes."""

    moves: tuple[Move, ...] = ()
    """The changes of status code, in their order; those that came late or again are not among
    them."""
    unknown: frozenset[str] = frozenset()
    """The ids of jobs that are not in the read model; their changes had no effect."""


def change_jobs(connection: Connection, changes: Collection[JobChange]) -> Changed:
    """Apply changes in their order."""
    if not changes:
        return Changed()
    ids = {change.job_id for change in changes}
    # One order of locking for all writers, so that none waits for another in a circle.
    statement = (
        select(*JOB_COLUMNS, job.c.trace_attributes)
        .where(among(connection, job.c.id, ids))
        .order_by(job.c.id)
        .with_for_update()
    )
    found: dict[str, tuple[StoredJob, str]] = {}
    for *columns, trace_attributes in connection.execute(statement):
        stored = stored_job(columns)
        found[stored.id] = (stored, trace_attributes)
    before = {
        id_: Life(*(getattr(stored, name) for name in Life._fields))
        for id_, (stored, _) in found.items()
    }
    after = dict(before)
    moves = []
    for change in changes:
        if change.job_id not in after:
            continue
        life = after[change.job_id]
        after[change.job_id] = reached = advance(life, change)
        if reached.version > life.version:
            stored, trace_attributes = found[change.job_id]
            moves.append(
                Move(
                    before=stored._replace(**life._asdict()),
                    after=stored._replace(**reached._asdict()),
                    trace_attributes=decode(trace_attributes),
                    exit_code=change.exit_code,
                    image_id=change.image_id,
                )
            )
    changed = {id_: life for id_, life in after.items() if life is not before[id_]}
    if changed:
        connection.execute(
            update(job).where(job.c.id == bindparam("job_id")),
            [{"job_id": id_, **_columns(life)} for id_, life in changed.items()],
        )
    return Changed(tuple(moves), frozenset(ids - before.keys()))


def write_backend(connection: Connection, row: BackendRow) -> None:
    """Replace the row of a backend, unless a later one is there."""
    statement = _insert(connection, backend).values(
        slug=row.slug, version=row.version, document=row.model_dump_json()
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["slug"],
            set_={
                "version": statement.excluded.version,
                "document": statement.excluded.document,
            },
            where=backend.c.version < statement.excluded.version,
        )
    )


def announce(connection: Connection, announced: Intent) -> Intent:
    """Note that a create is about to be sent; see :meth:`rap.records.Records.announce`."""
    statement = _insert(connection, intent).values(announced.model_dump(mode="json"))
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["rap_id"],
            set_={
                name: statement.excluded[name]
                for name in ("backend", "workspace", "repo_url", "commit", "state", "created_at")
            },
            where=or_(
                intent.c.state == IntentState.REFUSED.value,
                (intent.c.state == IntentState.PENDING.value)
                & (intent.c.backend == statement.excluded.backend)
                & (intent.c.workspace == statement.excluded.workspace),
            ),
        )
    )
    found = connection.execute(select(intent).where(intent.c.rap_id == announced.rap_id))
    return Intent.model_validate(found.mappings().one())


def settle(connection: Connection, settlement: IntentSettlement) -> None:
    """End an intent, unless it is accepted already or was announced after what is settled."""
    condition = (intent.c.rap_id == settlement.rap_id) & (
        intent.c.state != IntentState.ACCEPTED.value
    )
    if settlement.asked_at is not None:
        condition &= intent.c.created_at <= settlement.asked_at
    connection.execute(update(intent).where(condition).values(state=settlement.state.value))


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _new_row(row: JobRow) -> dict[str, Any]:
    encoded = {
        "trace_context": encode(row.trace_context),
        "trace_attributes": encode(row.trace_attributes),
        "wait_for": encode(row.wait_for),
    }
    return {**row.model_dump(exclude=set(encoded)), **encoded, **_columns(born(row))}


def _columns(life: Life) -> dict[str, Any]:
    columns: Iterable[tuple[str, Any]] = life._asdict().items()
    return {
        **dict(columns),
        "status_code": life.status_code.value,
        "metrics": encode(life.metrics),
    }
