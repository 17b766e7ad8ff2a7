"""``rap backend …``: what operators do with a backend (controller.md 12, 15).

Every order is a signal that could as well be sent from the Web UI, is carried out once however
often it is given, and returns when the backend shows its effect. Who, when and why is kept.
"""

import math
from enum import StrEnum
from typing import Annotated

import typer

from rap.cli.backend_options import (
    Backend,
    By,
    Data,
    DisableChecks,
    Json,
    Status,
    Why,
    Yes,
)
from rap.cli.window_commands import window_app

backend_app = typer.Typer(
    help="Operate a backend: capacity, pause, database maintenance, reboot.", no_args_is_help=True
)
backend_app.add_typer(window_app, name="window")


class OnOff(StrEnum):
    """The positions of a switch."""

    ON = "on"
    OFF = "off"


Position = Annotated[OnOff, typer.Argument(help="Where to put the switch.")]


@backend_app.command("list", epilog="Example: rap backend list --json")
def list_(*, data: Data = None, as_json: Json = False) -> None:
    """Show all backends in a line each: switches, workers, queue, agents.

    It reads the read model alone, so it answers while Temporal is down.
    """
    from rap.cli import backend_show as story

    raise typer.Exit(story.command_list(data=data, as_json=as_json))


@backend_app.command(epilog="Example: rap backend show tpp")
def show(*, backend: Backend, data: Data = None, as_json: Json = False) -> None:
    """Show one backend: switches and their times, limits, priorities, agents, the latest orders.

    It reads the read model alone, so it answers while Temporal is down.
    """
    from rap.cli import backend_show as story

    raise typer.Exit(story.command_show(backend, data=data, as_json=as_json))


@backend_app.command(epilog='Example: rap backend pause tpp --why "disk is being replaced"')
def pause(
    *, backend: Backend, why: Why = "", by: By = None, data: Data = None, as_json: Json = False
) -> None:
    """Start no more jobs; those that run go on to their end."""
    from rap.cli import backend_orders as story

    raise typer.Exit(story.pause(story.Given(backend, by, why, data, as_json), on=True))


@backend_app.command(epilog="Example: rap backend unpause tpp")
def unpause(
    *, backend: Backend, why: Why = "", by: By = None, data: Data = None, as_json: Json = False
) -> None:
    """Start jobs again, also those that were stopped for a reboot."""
    from rap.cli import backend_orders as story

    raise typer.Exit(story.pause(story.Given(backend, by, why, data, as_json), on=False))


@backend_app.command("db-maintenance", epilog="Example: rap backend db-maintenance on tpp")
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
    """Switch database maintenance by hand: database jobs are stopped, and wait until `off`.

    While it is on by hand, no periodic check ends it. `off` hands it back to the checks.
    """
    from rap.cli import backend_orders as story

    if disable_checks and position is OnOff.OFF:
        raise typer.BadParameter("--disable-checks is for `on`; `off` enables the checks again")
    given = story.Given(backend, by, why, data, as_json)
    on = position is OnOff.ON
    raise typer.Exit(story.maintenance(given, on=on, disable_checks=disable_checks))


@backend_app.command("prepare-for-reboot", epilog="Example: rap backend prepare-for-reboot tpp -s")
def prepare_for_reboot(
    *,
    backend: Backend,
    status: Status = False,
    yes: Yes = False,
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Pause, kill all running jobs, and let them start again after `unpause`.

    Then ask with --status until it says that it is safe to reboot.
    """
    from rap.cli import backend_reboot as story
    from rap.cli.backend_orders import Given

    given = Given(backend, by, why, data, as_json)
    raise typer.Exit(story.status(given) if status else story.prepare(given, yes=yes))


@backend_app.command(epilog="Example: rap backend drain tpp --timeout 4h")
def drain(
    *,
    backend: Backend,
    timeout: Annotated[
        str | None,
        typer.Option(help="Give up after 90s, 15m, 4h … Default: never.", show_default=False),
    ] = None,
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Pause, and wait until all running jobs have ended by themselves.

    Ctrl-C and --timeout end the waiting, not the pause. Ends with 1 if jobs still run.
    """
    from rap.cli import backend_drain as story
    from rap.cli.backend_orders import Given
    from rap.operations.moments import length_s

    within_s = None if timeout is None else length_s(timeout, option="--timeout")
    given = Given(backend, by, why, data, as_json)
    raise typer.Exit(story.command(given, within_s=within_s))


@backend_app.command(epilog="Example: rap backend limits tpp --workers 12 --why 'more memory'")
def limits(
    *,
    backend: Backend,
    workers: Annotated[
        float | None,
        typer.Option(min=0, help="Workers for jobs without database.", show_default=False),
    ] = None,
    db_workers: Annotated[
        float | None,
        typer.Option(min=0, help="Workers for database jobs.", show_default=False),
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Back to what is configured.")] = False,
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set how much runs at a time, until --reset. What is not named is as configured.

    Running jobs are not affected.
    """
    from rap.cli import backend_orders as story

    numbers = [number for number in (workers, db_workers) if number is not None]
    if reset == bool(numbers):
        raise typer.BadParameter("give --workers, --db-workers or both; or --reset alone")
    if not all(math.isfinite(number) for number in numbers):
        raise typer.BadParameter("--workers and --db-workers must be finite numbers")
    given = story.Given(backend, by, why, data, as_json)
    raise typer.Exit(story.limits(given, workers=workers, db_workers=db_workers))


@backend_app.command(
    epilog="Example: rap backend priority a1b2c3d4e5f6g7h8 1 --why 'for the audit'"
)
def priority(
    *,
    rap_id: Annotated[str, typer.Argument(metavar="RAP_ID", help="The RAP.")],
    level: Annotated[
        int, typer.Argument(metavar="1-5", min=1, max=5, help="1 is first, 5 last, 3 usual.")
    ],
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set how urgent a RAP is: its waiting jobs start before those of lesser priority."""
    from rap.cli import backend_orders as story

    given = story.Given(None, by, why, data, as_json)
    raise typer.Exit(story.priority(given, rap_id=rap_id, level=level))


@backend_app.command("host-lost", epilog="Example: rap backend host-lost tpp h2 --why 'dead disk'")
def host_lost(
    *,
    backend: Backend,
    host: Annotated[str, typer.Argument(metavar="HOST", help="As `rap backend show` names it.")],
    yes: Yes = False,
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Give up a host that will not come back: its jobs start again elsewhere.

    Make sure that its containers do not run any more.
    """
    from rap.cli import backend_orders as story

    given = story.Given(backend, by, why, data, as_json)
    raise typer.Exit(story.host_lost(given, host=host, yes=yes))
