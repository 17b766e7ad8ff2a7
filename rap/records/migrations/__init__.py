"""Bringing the tables of the read model up to date."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text
from sqlalchemy.exc import InterfaceError, OperationalError

from rap.errors import ConfigurationError, Unavailable
from rap.records.store import engine_of

# Any number, but the same for ever: processes of different versions must meet at it.
_LOCK = 7_252_001
_LONGEST_WAIT = 5.0


def upgrade(url: str) -> None:
    """Make or change the tables so that they fit this version of the product.

    Several processes may do so at once; one works, the others wait. Without effect if the tables
    are up to date.

    Raises:
        Unavailable: the database does not answer.
        ConfigurationError: the tables belong to a later version of the product.
    """
    engine = engine_of(url)
    try:
        with engine.execution_options(rap_writes=True).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            if not _is_current(connection):
                config = _config()
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(_DOWN) from error
    except CommandError as error:
        raise ConfigurationError(
            "The tables of the read model belong to a later version of the product; run that "
            "version, or let RAP_DATABASE_URL name another database."
        ) from error
    finally:
        engine.dispose()


async def upgrade_when_up(url: str, *, on_wait: Callable[[str], object]) -> None:
    """The same, waiting for the database for as long as it takes.

    Args:
        url: of the database.
        on_wait: is told once what is being waited for.

    Raises:
        ConfigurationError: the tables belong to a later version of the product.
    """
    delay, told = 0.2, False
    while True:
        try:
            return await asyncio.to_thread(upgrade, url)
        except Unavailable as error:
            if not told:
                on_wait(str(error))
                told = True
        await asyncio.sleep(delay)
        delay = min(delay * 1.5, _LONGEST_WAIT)


def is_current(url: str) -> bool:
    """Whether the tables fit this version of the product; `rap records upgrade` makes them.

    Raises:
        Unavailable: the database does not answer.
    """
    engine = engine_of(url)
    try:
        with engine.begin() as connection:
            return _is_current(connection)
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(_DOWN) from error
    finally:
        engine.dispose()


_DOWN = (
    "The database of the read model does not answer; check that it runs and that RAP_DATABASE_URL "
    "names it."
)


def _is_current(connection: Connection) -> bool:
    heads = set(ScriptDirectory.from_config(_config()).get_heads())
    return set(MigrationContext.configure(connection).get_current_heads()) == heads


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config
