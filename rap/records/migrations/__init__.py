"""Bringing the tables of the read model up to date."""

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
