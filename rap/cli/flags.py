"""``rap flags …``: a backend's switches as the flags that operators know (controller.md 15.1)."""

from typing import Annotated

import typer

from rap.cli.backend_options import By, Data, Json, NamedBackend, Why

flags_app = typer.Typer(
    help="Show and set the switches of a backend as flags.", no_args_is_help=True
)

Create = Annotated[bool, typer.Option("--create", hidden=True)]


@flags_app.command(epilog="Example: rap flags get paused mode --backend tpp")
def get(
    *,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME", help="Flags to show. Default: all ever set.", show_default=False
        ),
    ] = None,
    backend: NamedBackend,
    create: Create = False,  # noqa: ARG001 - there is nothing to create, but scripts say it
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show flags with their values and the times of their last changes."""
    from rap.cli import flag_orders as story
    from rap.cli.backend_orders import Given

    given = Given(backend, data=data, as_json=as_json)
    raise typer.Exit(story.get(given, names or []))


@flags_app.command("set", epilog="Example: rap flags set paused=true --backend tpp")
def set_(
    *,
    words: Annotated[
        list[str],
        typer.Argument(metavar="NAME=VALUE", help="What to set; `NAME=` sets it to none."),
    ],
    backend: NamedBackend,
    create: Create = False,  # noqa: ARG001 - as above
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set flags: paused, mode, manual-db-maintenance, db-maintenance-checks-disabled.

    Each stands for an order of `rap backend`, and is recorded as that.
    """
    from rap.cli import flag_orders as story
    from rap.cli.backend_orders import Given

    raise typer.Exit(story.set_(Given(backend, by, why, data, as_json), words))
