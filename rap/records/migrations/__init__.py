"""Bringing the tables of the read model up to date."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from rap.errors import ConfigurationError
from rap.records.engine import engine_of
from rap.records.faults import told
from rap.waiting import until_it_answers

# Any number, but the same for ever: processes of different versions must meet at it.
_LOCK = 7_252_001


def upgrade(url: str) -> None:
    """Make or change the tables so that they fit this version of the product.

    Several processes may do so at once; one works, the others wait. Without effect if the tables
    are up to date.

    Raises:
        Unavailable: the database does not answer.
        ConfigurationError: the tables belong to a later version or to another application.
    """
    with _connected(url, writes=True) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        if not _is_current(connection):
            _refuse_another_application(connection)
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


async def upgrade_when_up(url: str, *, on_wait: Callable[[str], object]) -> None:
    """The same, waiting for the database; ``on_wait`` is told once what is waited for.

    Raises:
        ConfigurationError: the tables belong to a later version of the product.
    """
    await until_it_answers(lambda: asyncio.to_thread(upgrade, url), on_wait=on_wait)


def is_current(url: str) -> bool:
    """Whether the tables fit this version of the product; `rap records upgrade` makes them.

    Raises:
        Unavailable: the database does not answer.
    """
    with _connected(url) as connection:
        return _is_current(connection)


@contextmanager
def _connected(url: str, *, writes: bool = False) -> Iterator[Connection]:
    engine = engine_of(url)
    try:
        with (
            told(engine.url),
            engine.execution_options(rap_writes=writes).begin() as connection,
        ):
            yield connection
    except CommandError as error:
        raise ConfigurationError(
            "The tables of the read model belong to a later version of the product, or to another "
            "application; run that version, or let RAP_DATABASE_URL name another database."
        ) from error
    finally:
        engine.dispose()


def _refuse_another_application(connection: Connection) -> None:
    names = set(inspect(connection).get_table_names())
    if names and "alembic_version" not in names:
        raise ConfigurationError(
            "The database has tables of another application; let RAP_DATABASE_URL name one that is "
            "empty, or the read model of this product."
        )


def _is_current(connection: Connection) -> bool:
    heads = set(ScriptDirectory.from_config(_config()).get_heads())
    return set(MigrationContext.configure(connection).get_current_heads()) == heads


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
