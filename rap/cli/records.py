"""``rap records …``: looking after the read model."""

import typer

from rap.cli.backend_options import Data, Json

records_app = typer.Typer(help="Look after the read model.", no_args_is_help=True)


@records_app.command(epilog="Example: RAP_DATABASE_URL=postgresql://rap@db/rap rap records upgrade")
def upgrade(*, data: Data = None, as_json: Json = False) -> None:
    """Make or change the tables of the read model so that they fit this version; repeatable."""
    from rap.cli import read_model as story

    raise typer.Exit(story.upgrade(data=data, as_json=as_json))


@records_app.command(epilog="Example: BACKUPS_PATH=/srv/backups rap records snapshot")
def snapshot(*, data: Data = None, as_json: Json = False) -> None:
    """Copy the SQLite file of the read model into BACKUPS_PATH, in place of earlier copies.

    Others may write meanwhile. For a read model in PostgreSQL use pg_dump.
    """
    from rap.cli import read_model as story

    raise typer.Exit(story.snapshot(data=data, as_json=as_json))
