"""``rap records …``: looking after the read model."""

from datetime import UTC, datetime
from pathlib import Path

from cli import environment
from cli.console import messages, patience, print_json, say
from cli.lazy_group import LazyGroup
from cli.options import Data, Json
from rap.errors import RapError, Unavailable

group = LazyGroup(
    __name__,
    ("upgrade", "snapshot"),
    name="records",
    help="Look after the read model.",
)


def upgrade(*, data: Data = None, as_json: Json = False) -> None:
    """Make or change the tables of the read model so that they fit this version; repeatable.

    Example: RAP_DATABASE_URL=postgresql://rap@db/rap rap records upgrade
    """
    from rap.records import migrations

    environment.enter(data)
    url = environment.records_url()
    # The password is for the database alone.
    name = url.render_as_string(hide_password=True)
    full = url.render_as_string(hide_password=False)
    out = messages(as_json=as_json)
    current = migrations.is_current(full)
    if current:
        say(out, f"The tables of the read model at {name} are up to date.")
    else:
        with patience(out, "Changing the tables …"):
            migrations.upgrade(full)
        say(out, f"Brought the tables of the read model at {name} up to date.")
    if as_json:
        print_json({"read_model": name, "changed": not current})


def snapshot(*, data: Data = None, as_json: Json = False) -> None:
    """Copy the SQLite file of the read model into BACKUPS_PATH, in place of earlier copies.

    Others may write meanwhile. For a read model in PostgreSQL use pg_dump.

    Example: BACKUPS_PATH=/srv/backups rap records snapshot
    """
    from rap.records.snapshot import snapshot as take_snapshot
    from rap.settings import RecordsSettings, load

    environment.enter(data)
    url = environment.records_url()
    if url.get_backend_name() != "sqlite" or not url.database:
        name = url.render_as_string(hide_password=True)
        raise RapError(
            f"The read model at {name} is no SQLite file. PostgreSQL takes its own snapshots: "
            "pg_dump --format=custom --file=rap.dump, with the same database."
        )
    source = Path(url.database).absolute()
    if not source.is_file():
        raise Unavailable(
            f"There is no read model at {source}. Name it with RAP_DATABASE_URL, or its folder "
            "with --data."
        )
    out = messages(as_json=as_json)
    with patience(out, "Copying the read model …"):
        taken = take_snapshot(source, load(RecordsSettings).backups, datetime.now(UTC))
    say(out, f"Wrote {taken}")
    if as_json:
        print_json({"read_model": str(source), "snapshot": str(taken)})
