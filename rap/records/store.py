"""The read model as its users see it."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from rap.errors import RapError, Unavailable
from rap.records import history, reads, writes
from rap.records import seen as seen_reads
from rap.records.history import JobFilter, PastJob
from rap.records.seen import NOTHING_SEEN, Seen
from rap.records.tables import Move, StoredJob, TracedJob
from rap.rows import BackendRow, BackendUpdate, Intent, IntentSettlement, JobChanges, WorkspaceJob

MOST_JOBS = 20_000
"""Of a workspace that are looked at: beyond that, only what is older is missing."""

_BUSY_SECONDS = 10
_CONNECT_SECONDS = 5
_STATEMENT_MILLISECONDS = 20_000


class UnknownJob(RapError):
    """A change names a job that the read model does not have; nothing was written."""


class Records:
    """The read model in one database. Safe to use from several threads and processes.

    Every method is one transaction and may block for some milliseconds, at worst for the seconds
    that another writer takes.

    Raises:
        Unavailable: (any method) the database does not answer, or has no tables yet.
    """

    def __init__(self, engine: Engine) -> None:
        self._readers = engine
        self._writers = engine.execution_options(rap_writes=True)
        self._backends: dict[str, BackendRow] = {}

    @classmethod
    def connect(cls, url: str) -> "Records":
        """Make ready for use; the first connection is opened by the first call.

        Args:
            url: SQLAlchemy URL of an SQLite file or a PostgreSQL database.
        """
        return cls(engine_of(url))

    def close(self) -> None:
        """Close all connections."""
        self._readers.dispose()

    # --- writes ---

    def record_jobs(self, changes: JobChanges) -> tuple[Move, ...]:
        """Write the jobs and changes of one workflow task (controller.md 4).

        Returns:
            The changes of status code that were written now, and never were before.

        Raises:
            UnknownJob: a change names a job that was never created here; trying again helps if
                its creation is on the way.
        """
        with self._writing() as connection:
            if changes.created:
                writes.insert_rap(connection, changes.created)
            moves, unknown = writes.change_jobs(connection, changes.changes)
            if unknown:
                raise UnknownJob(f"The read model has no job {', '.join(sorted(unknown))}.")
        return moves

    def record_backend(self, change: BackendUpdate) -> tuple[Move, ...]:
        """Write a backend's row and the stages its agents reported.

        Jobs that the read model does not know are passed over: an agent may report one whose
        records were lost.

        Returns:
            As :meth:`record_jobs`.
        """
        with self._writing() as connection:
            writes.write_backend(connection, change.row)
            moves, _ = writes.change_jobs(connection, change.changes)
        return moves

    def announce(self, intent: Intent) -> Intent:
        """Note that a create is about to be sent, before it is.

        Returns:
            The intent that stands now. It differs from the given one if the RAP was accepted
            already, or if a create of the same ``rap_id`` in another workspace is undecided.
        """
        with self._writing() as connection:
            return writes.announce(connection, intent)

    def settle(self, settlement: IntentSettlement) -> None:
        """Note what became of an announced create. An accepted one stays accepted."""
        with self._writing() as connection:
            writes.settle(connection, settlement)

    # --- reads ---

    def jobs_of(self, rap_ids: Collection[str], backends: Collection[str]) -> list[StoredJob]:
        """The jobs of these RAPs on these backends, by RAP, dependencies first."""
        if not rap_ids or not backends:
            return []
        with self._reading() as connection:
            return reads.jobs_of(connection, rap_ids, backends)

    def seen(self, rap_ids: Collection[str], backends: Collection[str]) -> Seen:
        """All that a status answer about these RAPs needs, as it is at one moment."""
        if not rap_ids or not backends:
            return NOTHING_SEEN
        with self._reading() as connection:
            jobs, unreadable = seen_reads.seen_jobs(connection, rap_ids, backends)
            return Seen(
                jobs=jobs,
                unreadable=unreadable,
                awaited=seen_reads.awaited_by(connection, jobs),
                intents=seen_reads.missing_intents(connection, rap_ids, jobs, unreadable),
                backends=self._rows(connection, {job.backend for job in jobs}),
            )

    def active_raps(self, backends: Collection[str]) -> list[str]:
        """The RAPs that have an unfinished job on these backends."""
        with self._reading() as connection:
            return seen_reads.active_raps(connection, backends)

    def rap(self, rap_id: str) -> list[StoredJob]:
        """The jobs of a RAP on whichever backend, dependencies first."""
        with self._reading() as connection:
            return reads.rap(connection, rap_id)

    def latest_raps(self, backends: Collection[str], limit: int | None = None) -> list[str]:
        """The RAPs of these backends: those with unfinished jobs first, then the newest first.

        Reads all jobs of the backends: for people, not for programs that ask often.
        """
        if not backends:
            return []
        with self._reading() as connection:
            return reads.latest_raps(connection, backends, limit)

    def unfinished(self) -> list[TracedJob]:
        """The jobs of all backends that are not over."""
        with self._reading() as connection:
            return reads.unfinished(connection)

    def of_workspace(self, backend: str, workspace: str) -> list[WorkspaceJob]:
        """The jobs of a workspace, oldest first, dependencies before the jobs that need them.

        The newest :data:`MOST_JOBS` if there are more.
        """
        with self._reading() as connection:
            return reads.of_workspace(connection, backend, workspace, MOST_JOBS)

    def find_jobs(self, wanted: JobFilter, limit: int | None = None) -> list[StoredJob]:
        """The jobs that fit, newest first. May read all jobs, as :meth:`latest_raps`."""
        with self._reading() as connection:
            return history.find_jobs(connection, wanted, limit)

    def past_jobs(self, backend: str) -> list[PastJob]:
        """The latest jobs of a backend that succeeded. May read all jobs."""
        with self._reading() as connection:
            return history.past_jobs(connection, backend)

    def intents(self, rap_ids: Collection[str]) -> dict[str, Intent]:
        """The intents that announced these RAPs."""
        if not rap_ids:
            return {}
        with self._reading() as connection:
            return reads.intents(connection, rap_ids)

    def unsettled(self, before: float) -> list[Intent]:
        """The undecided intents announced before that moment, oldest first."""
        with self._reading() as connection:
            return reads.unsettled(connection, before)

    def backends(self, slugs: Collection[str]) -> dict[str, BackendRow]:
        """The rows of these backends; those never seen are left out."""
        with self._reading() as connection:
            return self._rows(connection, slugs)

    def _rows(self, connection: Connection, slugs: Collection[str]) -> dict[str, BackendRow]:
        versions = reads.backend_versions(connection, slugs)
        known = self._backends
        rows = {
            slug: known[slug]
            for slug, version in versions.items()
            if slug in known and known[slug].version == version
        }
        # A row with a long queue takes milliseconds to parse, and changes once a second.
        for text in reads.backend_documents(connection, versions.keys() - rows.keys()):
            row = BackendRow.model_validate_json(text)
            rows[row.slug] = known[row.slug] = row
        return rows

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with _answering(), self._writers.begin() as connection:
            yield connection

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _answering(), self._readers.begin() as connection:
            yield connection


def engine_of(url: str) -> Engine:
    """The engine of a database, set up for several readers and writers at once."""
    target = _with_driver(make_url(url))
    if target.get_backend_name() == "sqlite":
        return _sqlite(target)
    return create_engine(
        target,
        hide_parameters=True,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": _CONNECT_SECONDS,
            "options": f"-c statement_timeout={_STATEMENT_MILLISECONDS}",
        },
    )


def _with_driver(url: URL) -> URL:
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # The driver would open transactions by its own rules, and none around DDL.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and then writes cannot wait for another writer, so a
        # writer says so at once.
        writes_rows = connection.get_execution_options().get("rap_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes_rows else "BEGIN")

    return engine


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, ProgrammingError, PoolTimeout) as error:
        raise Unavailable(
            "The read model does not answer; check that its database runs, that RAP_DATABASE_URL "
            f"names it, and that `rap records upgrade` was run. ({type(error).__name__})"
        ) from error
