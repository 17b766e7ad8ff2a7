"""The reads of the read model, apart from those for status answers and for looking back."""

from collections.abc import Collection
from time import monotonic
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, select

from rap.queue_order import in_order
from rap.records.engine import Database, now
from rap.records.tables import JOB_COLUMNS, among, backend, intent, job, stored_job, waiting
from rap.rows import BackendRow, Intent, IntentState, QueueEntry
from rap.stored_jobs import StoredJob

MOST_JOBS = 20_000
"""Of a workspace that are looked at: beyond that, only what is older is missing."""

_QUEUE = select(*(waiting.c[name] for name in QueueEntry.model_fields))


class Reads(Database):
    """What processes ask of the read model."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._backends: dict[str, BackendRow] = {}
        self._known_since: dict[str, float] = {}
        self._queues: dict[str, tuple[int, tuple[QueueEntry, ...]]] = {}

    def jobs_of(self, rap_ids: Collection[str], backends: Collection[str]) -> list[StoredJob]:
        """The jobs of these RAPs on these backends, by RAP, dependencies first."""
        if not rap_ids or not backends:
            return []
        with self._reading() as connection:
            statement = (
                select(*JOB_COLUMNS)
                .where(among(connection, job.c.rap_id, rap_ids), job.c.backend.in_(backends))
                .order_by(job.c.rap_id, job.c.position)
            )
            return [stored_job(row) for row in connection.execute(statement)]

    def rap(self, rap_id: str) -> list[StoredJob]:
        """The jobs of a RAP on whichever backend, dependencies first."""
        return self._jobs(
            select(*JOB_COLUMNS).where(job.c.rap_id == rap_id).order_by(job.c.position)
        )

    def unfinished(self) -> list[StoredJob]:
        """The jobs of all backends that are not over."""
        return self._jobs(
            select(*JOB_COLUMNS)
            .where(job.c.completed_at.is_(None))
            .order_by(job.c.backend, job.c.created_at, job.c.id)
        )

    def count_unfinished(self, slug: str) -> int:
        """How many jobs of a backend are not over."""
        these = (job.c.backend == slug) & job.c.completed_at.is_(None)
        with self._reading() as connection:
            return connection.scalar(select(func.count()).select_from(job).where(these)) or 0

    def of_workspace(self, backend: str, workspace: str) -> list[StoredJob]:
        """The jobs of a workspace, oldest first, dependencies before the jobs that need them.

        The newest :data:`MOST_JOBS` if there are more.
        """
        statement = (
            select(*JOB_COLUMNS)
            .where(job.c.workspace == workspace, job.c.backend == backend)
            .order_by(job.c.created_at.desc(), job.c.rap_id, job.c.position.desc())
            .limit(MOST_JOBS)
        )
        return self._jobs(statement)[::-1]

    def _jobs(self, statement: Select[Any]) -> list[StoredJob]:
        with self._reading() as connection:
            return [stored_job(row) for row in connection.execute(statement)]

    def check(self) -> None:
        """Whether everything that is asked of the read model can be asked of it."""
        with self._reading() as connection:
            for table in (job, intent, backend, waiting):
                connection.execute(select(table).limit(1)).all()

    def intents(self, rap_ids: Collection[str]) -> dict[str, Intent]:
        """The intents that announced these RAPs."""
        if not rap_ids:
            return {}
        with self._reading() as connection:
            return intents(connection, rap_ids)

    def undecided(self) -> tuple[list[Intent], float]:
        """The intents that are undecided, oldest first, and the time by the database's clock."""
        statement = (
            select(intent)
            .where(intent.c.state == IntentState.PENDING.value)
            .order_by(intent.c.created_at)
        )
        with self._reading() as connection:
            found = connection.execute(statement).mappings()
            return [Intent.model_validate(row) for row in found], now(connection)

    def backends(self, slugs: Collection[str]) -> dict[str, BackendRow]:
        """The rows of these backends; those never seen are left out."""
        with self._reading() as connection:
            return self._whole_rows(connection, slugs)

    def backend_flags(self, slugs: Collection[str]) -> dict[str, BackendRow]:
        """The same without their queues, whose length alone is told."""
        with self._reading() as connection:
            return self._rows(connection, slugs)

    def _whole_rows(self, connection: Connection, slugs: Collection[str]) -> dict[str, BackendRow]:
        return {
            slug: row.model_copy(update={"queue": self._queue(connection, row)})
            for slug, row in self._rows(connection, slugs).items()
        }

    def _queue(self, connection: Connection, row: BackendRow) -> tuple[QueueEntry, ...]:
        """The waiting jobs of a backend; both change with its version."""
        version, queue = self._queues.get(row.slug, (-1, ()))
        if version != row.version:
            found = connection.execute(_QUEUE.where(waiting.c.backend == row.slug)).mappings()
            entries = [QueueEntry.model_construct(**entry) for entry in found]
            queue = in_order(entries, row.slots, row.priorities)
            self._queues[row.slug] = row.version, queue
        return queue

    def _rows(self, connection: Connection, slugs: Collection[str]) -> dict[str, BackendRow]:
        of_these = backend.c.slug.in_(slugs)
        known = self._backends
        rows = {
            slug: known[slug]
            for slug, version in connection.execute(
                select(backend.c.slug, backend.c.version).where(of_these)
            )
            if slug in known and known[slug].version == version
        }
        # A row takes its time to parse, and changes once a second at most.
        changed = select(backend.c.document).where(of_these, backend.c.slug.not_in(rows))
        for text in connection.scalars(changed):
            row = BackendRow.model_validate_json(text)
            rows[row.slug] = known[row.slug] = row
            self._known_since[row.slug] = monotonic()
        return rows

    def moment_of(self, row: BackendRow) -> float:
        """What time it is now at least, by the clock that the times of a backend's row are of.

        A backend is written at least every half minute while its workflow runs; what has passed
        since this process first read the row is measured here. So two clocks are never compared.
        """
        return row.updated_at + monotonic() - self._known_since[row.slug]


def intents(connection: Connection, rap_ids: Collection[str]) -> dict[str, Intent]:
    """The intents that announced these RAPs, within a transaction."""
    statement = select(intent).where(among(connection, intent.c.rap_id, rap_ids))
    found = connection.execute(statement).mappings()
    return {row["rap_id"]: Intent.model_validate(row) for row in found}
