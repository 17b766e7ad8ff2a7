"""``rap records upgrade`` and ``rap records snapshot``."""

from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import URL

from rap.cli import environment, show
from rap.errors import RapError, Unavailable
from rap.records import migrations
from rap.records.snapshot import snapshot as take_snapshot
from rap.settings import RecordsSettings, load


def upgrade(*, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap records upgrade``; its exit code."""
    environment.enter(data)
    url = environment.records_url()
    # The password is for the database alone.
    name = url.render_as_string(hide_password=True)
    full = url.render_as_string(hide_password=False)
    out = show.console(errors=as_json)
    current = migrations.is_current(full)
    if current:
        show.say(out, f"The tables of the read model at {name} are up to date.")
    else:
        with show.patience(out, "Changing the tables …"):
            migrations.upgrade(full)
        show.say(out, f"Brought the tables of the read model at {name} up to date.")
    if as_json:
        show.print_json({"read_model": name, "changed": not current})
    return 0


def snapshot(*, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap records snapshot``; its exit code.

    Raises:
        ConfigurationError: ``BACKUPS_PATH`` does not exist.
        RapError: the read model is not in an SQLite file, or cannot be copied.
    """
    environment.enter(data)
    source = _file(environment.records_url())
    out = show.console(errors=as_json)
    with show.patience(out, "Copying the read model …"):
        taken = take_snapshot(source, load(RecordsSettings).backups, datetime.now(UTC))
    show.say(out, f"Wrote {taken}")
    if as_json:
        show.print_json({"read_model": str(source), "snapshot": str(taken)})
    return 0


def _file(url: URL) -> Path:
    if url.get_backend_name() != "sqlite" or not url.database:
        name = url.render_as_string(hide_password=True)
        raise RapError(
            f"The read model at {name} is no SQLite file. PostgreSQL takes its own snapshots: "
            "pg_dump --format=custom --file=rap.dump, with the same database."
        )
    path = Path(url.database).absolute()
    if not path.is_file():
        raise Unavailable(
            f"There is no read model at {path}. Name it with RAP_DATABASE_URL, or its folder with "
            "--data."
        )
    return path
