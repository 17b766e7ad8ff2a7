"""The names that operators' scripts know from before, hidden from the help (controller.md 15)."""

import typer

from rap.cli.backend import Position
from rap.cli.backend_options import (
    Backend,
    By,
    Data,
    DisableChecks,
    Json,
    NamedBackend,
    Status,
    Why,
    Yes,
)

old_app = typer.Typer()


@old_app.command("pause", hidden=True, epilog="Example: rap pause on tpp")
def pause(
    *,
    position: Position,
    backend: Backend,
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Do as `rap backend pause` and `unpause`; print the flag alone."""
    from rap.cli import backend_orders as story

    given = story.Given(backend, by, why, data, as_json)
    raise typer.Exit(story.pause(given, on=position == "on", flags_only=True))


@old_app.command("db_maintenance", hidden=True, epilog="Example: rap db_maintenance on tpp")
def db_maintenance(
    *,
    position: Position,
    backend: Backend,
    disable_checks: DisableChecks = False,
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Do as `rap backend db-maintenance`; print the flags alone."""
    from rap.cli import backend_orders as story

    given = story.Given(backend, by, why, data, as_json)
    on = position == "on"
    code = story.maintenance(given, on=on, disable_checks=disable_checks, flags_only=True)
    raise typer.Exit(code)


@old_app.command("prepare_for_reboot", hidden=True, epilog="Example: rap prepare_for_reboot ...")
def prepare_for_reboot(
    *,
    backend: NamedBackend,
    status: Status = False,
    yes: Yes = False,
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Do as `rap backend prepare-for-reboot`."""
    from rap.cli.backend import prepare_for_reboot as today

    today(backend=backend, status=status, yes=yes, why=why, by=by, data=data, as_json=as_json)
