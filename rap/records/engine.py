"""Where the read model is kept: a database, set up for several readers and writers at once."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from rap.records.faults import told

BUSY_SECONDS = 10
"""For which a writer of SQLite waits for the one before it; a write takes milliseconds."""
_CONNECT_SECONDS = 5
_STATEMENT_MILLISECONDS = 20_000


class Database:
    """One database and its transactions."""

    def __init__(self, engine: Engine) -> None:
        # Several statements of a reader see one moment; those of SQLite do so anyway.
        one_moment = engine.dialect.name == "postgresql"
        self._readers = (
            engine.execution_options(isolation_level="REPEATABLE READ") if one_moment else engine
        )
        self._writers = engine.execution_options(rap_writes=True)

    @classmethod
    def connect(cls, url: str) -> Self:
        """Make an SQLite file or a PostgreSQL database ready; the first call connects."""
        return cls(engine_of(url))

    def close(self) -> None:
        """Close all connections."""
        self._readers.dispose()

    def _writing(self) -> AbstractContextManager[Connection]:
        return _transaction(self._writers)

    def _reading(self) -> AbstractContextManager[Connection]:
        return _transaction(self._readers)


def engine_of(url: str) -> Engine:
    """The engine of a database, set up for several readers and writers at once."""
    target = make_url(url)
    if target.drivername in ("postgres", "postgresql"):
        target = target.set(drivername="postgresql+psycopg")
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


def now(connection: Connection) -> float:
    """The time by the one clock that all processes share: the database's.

    An SQLite file is on one host, with all its processes.
    """
    if connection.dialect.name == "postgresql":
        return float(connection.execute(text("SELECT extract(epoch FROM now())")).scalar_one())
    return time.time()


def _sqlite(url: URL) -> Engine:
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def set_up(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        # The driver would open transactions by its own rules, and none around DDL.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")
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
def _transaction(engine: Engine) -> Iterator[Connection]:
    with told(engine.url), engine.begin() as connection:
        yield connection
