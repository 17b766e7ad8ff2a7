"""What is the matter with a read model that fails, in a sentence with the remedy.

Decided by the codes of the databases, never by their texts.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from rap.errors import Unavailable

_DAMAGED = (
    "is damaged, or no database at all. Stop the API and the controller, put it aside, and put the "
    "latest snapshot of BACKUPS_PATH in its place; or let RAP_DATABASE_URL name another one."
)
_TABLES = (
    "does not have the tables of this version. Run `rap records upgrade`; if it refuses, "
    "RAP_DATABASE_URL names the database of another application or of a later version."
)
_UNREADABLE = (
    "holds what this version cannot read. Run the latest version that has written to it, or see "
    "that RAP_DATABASE_URL names the right one."
)
_AWAY = (
    "does not answer. Check that its database runs, that RAP_DATABASE_URL names it, and that `rap "
    "records upgrade` was run."
)

# The lowest byte of a code; the others say more of the same.
_SQLITE = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_ERROR: _TABLES,
    sqlite3.SQLITE_SCHEMA: _TABLES,
    sqlite3.SQLITE_FULL: "cannot be written: its disk is full. Make room on it.",
    sqlite3.SQLITE_IOERR: "cannot be read or written: look at its disk, and at the system's log.",
    sqlite3.SQLITE_READONLY: "may not be written: look at the owner and the mode of its folder.",
    sqlite3.SQLITE_PERM: "may not be used: look at the owner and the mode of its folder.",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: look at its folder, its owner and its mode.",
}
_POSTGRESQL = {
    "42P01": _TABLES,  # no such table
    "42703": _TABLES,  # no such column
    "55P03": "locked",
    "57014": "locked",  # a statement took too long
    "53100": "cannot be written: its disk is full. Make room on it.",
    "25006": "may not be written: it is read-only, perhaps because it is a standby.",
    "XX001": _DAMAGED,
    "XX002": _DAMAGED,
}


@contextmanager
def told(url: URL) -> Iterator[None]:
    """Turn what a database fails at into a sentence.

    Raises:
        Unavailable: with the sentence. Also where what it holds cannot be read.
    """
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        raise Unavailable(_sentence(url, error)) from error
    except ValueError as error:
        raise Unavailable(f"The read model {_name(url)} {_UNREADABLE}") from error


def _sentence(url: URL, error: DBAPIError | PoolTimeout) -> str:
    name = _name(url)
    what = _what(error)
    if what == "locked":
        return (
            f"Another program keeps the read model {name} locked. Find it and end it (for a file: "
            "`fuser`); what was to be written is written then."
        )
    return f"The read model {name} {what}"


def _what(error: DBAPIError | PoolTimeout) -> str:
    code = getattr(error.orig, "sqlite_errorcode", None) if isinstance(error, DBAPIError) else None
    if code is not None:
        return _SQLITE.get(code & 0xFF, f"{_AWAY} (SQLite: {code})")
    state = getattr(error.orig, "sqlstate", None) if isinstance(error, DBAPIError) else None
    return _POSTGRESQL.get(state or "", f"{_AWAY} ({type(error).__name__})")


def _name(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.render_as_string(hide_password=True)
