"""A copy of the read model's SQLite file, taken while others write
(docs/spec/controller.md 15.5).
"""

import os
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from rap.errors import ConfigurationError, RapError

_EARLIER = "db.snapshot_*.sqlite"


def snapshot(source: Path, folder: Path, now: datetime) -> Path:
    """Copy the database; afterwards it is the only snapshot in the folder.

    The copy is complete or not there: it gets its name, which tells ``now`` in UTC, last.

    Raises:
        ConfigurationError: there is no such folder.
        RapError: the database cannot be read, or the copy not be written.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"BACKUPS_PATH does not exist: {folder}\n"
            "Refusing to run on the assumption that backups are misconfigured."
        )
    target = folder / f"db.snapshot_{now.astimezone(UTC):%Y-%m-%d_%H%M%S}Z.sqlite"
    earlier = set(folder.glob(_EARLIER)) - {target}
    try:
        _copy(source, folder, target)
        for path in earlier:
            path.unlink(missing_ok=True)
    except (OSError, sqlite3.Error) as error:
        raise RapError(
            f"No snapshot of {source} could be written to {folder}: {error}. "
            "Earlier ones are still there."
        ) from error
    return target


def _copy(source: Path, folder: Path, target: Path) -> None:
    handle, name = tempfile.mkstemp(prefix=".db.snapshot-", suffix=".partial", dir=folder)
    os.close(handle)
    partial = Path(name)
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(partial)) as copy,
        ):
            live.backup(copy)
            # One file without companions: a snapshot is carried about.
            copy.execute("PRAGMA journal_mode = DELETE")
        partial.chmod(source.stat().st_mode & 0o777)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
