"""Every write of the read model.

A write may be repeated and may come late: rows carry versions (jobs: place in the job's life;
backends: a counter), and only a later one replaces what is there.
"""

from collections.abc import Collection, Mapping
from typing import Any

import orjson
from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from rap.errors import RapError
from rap.records.engine import Database, now
from rap.records.tables import (
    JOB_COLUMNS,
    among,
    backend,
    encode,
    intent,
    job,
    stored_job,
    waiting,
)
from rap.records.transitions import advance, born
from rap.rows import (
    BackendUpdate,
    Intent,
    IntentSettlement,
    IntentState,
    JobChange,
    JobChanges,
    RapRows,
)
from rap.stored_jobs import Move, StoredJob

CHANGING = (
    *("attempt", "version", "status_code", "status_message", "status_code_updated_at"),
    *("updated_at", "started_at", "completed_at", "metrics"),
)
"""The columns of a job that its changes write."""


class UnknownJob(RapError):
    """A change names a job that the read model does not have; nothing was written."""


class Writes(Database):
    """What workflows and the API write."""

    def record_jobs(self, changes: JobChanges) -> tuple[Move, ...]:
        """Write the jobs and changes of one workflow task (docs/spec/controller.md 4).

        Returns:
            The changes of status code that were written now, and never were before.

        Raises:
            UnknownJob: a change names a job that was never created here; trying again helps if
                its creation is on the way.
        """
        with self._writing() as connection:
            if changes.created:
                _insert_rap(connection, changes.created)
            signs = _signs_of_life(connection, changes.changes)
            moves, unknown = _change_jobs(connection, changes.changes, signs)
            if unknown:
                raise UnknownJob(f"The read model has no job {', '.join(sorted(unknown))}.")
        return moves

    def record_backend(self, change: BackendUpdate) -> tuple[Move, ...]:
        """Write a backend's row and its queue, unless a later row is there, and reported stages.

        The rest is as for :meth:`record_jobs`, but unknown jobs are passed over: an agent may
        report one whose records were lost.
        """
        row = change.row
        with self._writing() as connection:
            statement = _insert(connection, backend).values(
                slug=row.slug,
                version=row.version,
                document=row.model_dump_json(exclude={"queue"}),
            )
            new = statement.excluded
            later = connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["slug"],
                    set_={"version": new.version, "document": new.document},
                    where=backend.c.version < new.version,
                ).returning(backend.c.slug)
            )
            if later.first() is not None:
                _change_queue(connection, change)
            moves, _unknown = _change_jobs(
                connection, change.changes, {row.slug: int(row.updated_at)}
            )
        return moves

    def announce(self, announced: Intent) -> Intent:
        """Note that a create is about to be sent, before it is.

        Returns:
            The intent that stands now, with its number. It is not the given one if the RAP was
            accepted already, or if a create of the same ``rap_id`` in another workspace is
            undecided.
        """
        with self._writing() as connection:
            at = announced.created_at or now(connection)
            values = announced.model_dump(mode="json") | {"created_at": at, "offered_at": at}
            statement = _insert(connection, intent).values(values | {"number": 1})
            new = statement.excluded
            replaced = {name: new[name] for name in Intent.model_fields if name != "rap_id"}
            of_this_workspace = (intent.c.backend == new.backend) & (
                intent.c.workspace == new.workspace
            )
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["rap_id"],
                    set_=replaced | {"number": intent.c.number + 1},
                    where=(intent.c.state == IntentState.REFUSED.value)
                    | (intent.c.state == IntentState.PENDING.value) & of_this_workspace,
                )
            )
            found = connection.execute(select(intent).where(intent.c.rap_id == announced.rap_id))
            return Intent.model_validate(found.mappings().one())

    def claim(self, claimed: Intent) -> Intent:
        """Note which workspace is about to make a RAP; the first that does so has it.

        Returns:
            The intent that stands now: of another workspace if the RAP is or may become its own.
        """
        with self._writing() as connection:
            at = claimed.created_at or now(connection)
            values = claimed.model_dump(mode="json") | {"created_at": at, "offered_at": at}
            statement = _insert(connection, intent).values(values)
            connection.execute(statement.on_conflict_do_nothing())
            found = connection.execute(select(intent).where(intent.c.rap_id == claimed.rap_id))
            return Intent.model_validate(found.mappings().one())

    def take_offer(self, undecided: Intent) -> bool:
        """Take it upon oneself to offer an undecided create again; true for one caller alone."""
        with self._writing() as connection:
            statement = (
                update(intent)
                .where(
                    intent.c.rap_id == undecided.rap_id,
                    intent.c.state == IntentState.PENDING.value,
                    intent.c.number == undecided.number,
                    intent.c.offers == undecided.offers,
                )
                .values(offers=intent.c.offers + 1, offered_at=now(connection))
            )
            return connection.execute(statement).rowcount == 1

    def settle(self, settlement: IntentSettlement) -> None:
        """Note what became of an announced create.

        An accepted one stays accepted, and one that was announced after what is settled undecided.
        """
        condition = (intent.c.rap_id == settlement.rap_id) & (
            intent.c.state != IntentState.ACCEPTED.value
        )
        if settlement.number is not None:
            condition &= intent.c.number <= settlement.number
        with self._writing() as connection:
            connection.execute(update(intent).where(condition).values(state=settlement.state.value))


def _insert_rap(connection: Connection, rap: RapRows) -> None:
    """Add the jobs of a RAP that are not there yet, and end the intent that announced it."""
    if rap.jobs:
        # Whichever index a simultaneous writer of the same jobs is met at.
        statement = _insert(connection, job).on_conflict_do_nothing()
        connection.execute(statement, [_columns(born(row)) for row in rap.jobs])
    connection.execute(
        update(intent).where(intent.c.rap_id == rap.rap_id).values(state=IntentState.ACCEPTED.value)
    )


def _signs_of_life(connection: Connection, changes: Collection[JobChange]) -> dict[str, int]:
    """When the backends of jobs that end were last written, which readers were shown of these jobs.

    The rows are locked, before any job is: what is shown meanwhile must not be later.
    """
    ended = {change.job_id for change in changes if change.code.is_final}
    if not ended:
        return {}
    slugs = select(job.c.backend).where(among(connection, job.c.id, ended))
    rows = (
        select(backend.c.slug, backend.c.document)
        .where(backend.c.slug.in_(slugs))
        .order_by(backend.c.slug)
        .with_for_update(read=True)
    )
    return {
        row.slug: int(orjson.loads(row.document)["updated_at"]) for row in connection.execute(rows)
    }


def _change_jobs(
    connection: Connection, changes: Collection[JobChange], signs: Mapping[str, int]
) -> tuple[tuple[Move, ...], set[str]]:
    """Apply changes in their order; ``signs`` are the last signs of life of the backends.

    Returns:
        The changes of status code but for those that came late or again, and the ids of jobs that
        are not in the read model, whose changes had no effect.
    """
    if not changes:
        return (), set()
    ids = {change.job_id for change in changes}
    # One order of locking for all writers, so that none waits for another in a circle.
    statement = (
        select(*JOB_COLUMNS)
        .where(among(connection, job.c.id, ids))
        .order_by(job.c.id)
        .with_for_update()
    )
    before = {row.id: stored_job(row) for row in connection.execute(statement)}
    after = dict(before)
    moves = []
    for change in changes:
        stored = after.get(change.job_id)
        if stored is not None:
            reached = advance(stored, change, shown=signs.get(stored.backend, 0))
            after[stored.id] = reached
            if reached.version > stored.version:
                moves.append(Move(stored, reached, change.exit_code, change.image_id))
    changed = [stored for stored in after.values() if stored is not before[stored.id]]
    if changed:
        connection.execute(
            update(job).where(job.c.id == bindparam("job_id")),
            [{"job_id": stored.id, **_changing(stored)} for stored in changed],
        )
    return tuple(moves), ids - before.keys()


def _change_queue(connection: Connection, change: BackendUpdate) -> None:
    slug = change.row.slug
    outdated = waiting.c.backend == slug
    if not change.whole_queue:
        named = [*change.unqueued, *(entry.job_id for entry in change.queued)]
        outdated &= among(connection, waiting.c.job_id, named)
    if change.whole_queue or change.unqueued or change.queued:
        connection.execute(delete(waiting).where(outdated))
    if change.queued:
        rows = [{"backend": slug, **entry.model_dump()} for entry in change.queued]
        connection.execute(insert(waiting), rows)


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _changing(stored: StoredJob) -> dict[str, Any]:
    columns = _columns(stored)
    return {name: columns[name] for name in CHANGING}


def _columns(stored: StoredJob) -> dict[str, Any]:
    return {
        **stored._asdict(),
        "status_code": stored.status_code.value,
        "trace_context": encode(stored.trace_context),
        "metrics": encode(stored.metrics),
        "trace_attributes": encode(stored.trace_attributes),
        "wait_for": encode(stored.wait_for),
    }
