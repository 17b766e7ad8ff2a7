"""The options of ``rap backend window``."""

from typing import Annotated

import typer

from rap.cli.backend_options import Backend, By, Data, Json, Why
from rap.rows import WindowKind

window_app = typer.Typer(
    help="Maintenance windows: times at which a backend pauses, reboots or does without its "
    "database, and goes on by itself afterwards.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the window, such as patching.")]


@window_app.command(
    epilog="Example: rap backend window add tpp patching --cron '0 22 * * 5' --duration 4h "
    "--kind reboot --time-zone Europe/London --why 'monthly patches'"
)
def add(
    *,
    backend: Backend,
    name: Name,
    cron: Annotated[str, typer.Option(help="Minute, hour, day, month, weekday of its beginning.")],
    duration: Annotated[str, typer.Option(help="How long, such as 90m, 4h or 1d12h.")],
    kind: Annotated[
        WindowKind,
        typer.Option(
            help="pause: no job starts; reboot: and running ones go back to waiting; "
            "db-maintenance: no database jobs."
        ),
    ] = WindowKind.PAUSE,
    time_zone: Annotated[str, typer.Option(help="Of the cron line.")] = "UTC",
    by: By = None,
    why: Why = "",
    data: Data = None,
) -> None:
    """Schedule a window.

    At its end the backend takes back what the window did, and not what an operator ordered
    meanwhile. A window that a stopped server missed by more than ten minutes falls out.
    """
    from rap.cli import windows

    raise typer.Exit(
        windows.add(
            backend,
            name,
            cron=cron,
            duration=duration,
            kind=kind,
            time_zone=time_zone,
            by=by,
            why=why,
            data=data,
        )
    )


@window_app.command(name="list", epilog="Example: rap backend window list tpp")
def list_windows(
    *,
    backend: Backend,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the windows of a backend and when they open next."""
    from rap.cli import windows

    raise typer.Exit(windows.list_windows(backend, data=data, as_json=as_json))


@window_app.command(epilog="Example: rap backend window remove tpp patching")
def remove(*, backend: Backend, name: Name, data: Data = None) -> None:
    """Schedule a window no more; one that is open is closed."""
    from rap.cli import windows

    raise typer.Exit(windows.remove(backend, name, data=data))
