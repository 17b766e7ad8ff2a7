"""``rap backend window …``: maintenance windows that open and close by themselves."""

from typing import Annotated

import typer

from cli import environment
from cli.backend.orders import Operator
from cli.console import reply, say, stdout
from cli.lazy_group import LazyGroup
from cli.options import Backend, By, Data, Json, Why
from rap.durations import length_s
from rap.errors import ConfigurationError
from rap.windows import WindowKind

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the window, such as patching.")]

group = LazyGroup(
    __name__,
    ("add", "list", "remove"),
    name="window",
    help="Maintenance windows: times at which a backend pauses, reboots or does without its "
    "database, and goes on by itself afterwards.",
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

    Example: rap backend window add tpp patching --cron '0 22 * * 5' --duration 4h --kind reboot
    --time-zone Europe/London --why 'monthly patches'
    """
    from cli.connection import ask
    from cli.operations import windows
    from rap.messages.orders import Window

    operator = Operator(backend=backend, by=by, why=why, data=data)
    slug = operator.backend
    seconds = length_s(duration, option="--duration")
    if not seconds:
        raise ConfigurationError(f"--duration must be longer than {duration}, such as 90m")
    window = Window(
        backend=slug, name=name, kind=kind, seconds=seconds, by=operator.by, why=operator.why
    )
    plan = windows.WindowPlan(window=window, cron=cron, time_zone=time_zone)
    ask(lambda client: windows.add(client, plan))
    made = ask(lambda client: windows.plan_of(client, slug, name))
    first = f"{made.next} UTC" if made.next_times else "never"
    operator.say(f"Window {name} of {slug}: {kind}, {duration} long, first {first}")


def list_(*, backend: Backend, data: Data = None, as_json: Json = False) -> None:
    """Show the windows of a backend and when they open next.

    Example: rap backend window list tpp
    """
    from rich.table import Table

    from cli.connection import ask
    from cli.operations import windows

    slug = environment.backend_of(backend, environment.enter(data))
    plans = ask(lambda client: windows.planned(client, slug))
    table = Table("window", "does", "cron", "time zone", "hours", "next (UTC)", "by", "why")
    for plan in plans:
        window = plan.window
        table.add_row(
            window.name,
            window.kind,
            plan.cron,
            plan.time_zone,
            f"{window.seconds / 3600:g}",
            plan.next,
            window.by,
            window.why,
        )
    document = {"windows": [plan.model_dump(mode="json") for plan in plans]}
    nothing = f"Backend {slug} has no maintenance windows"
    reply(document, [table if plans else nothing], as_json=as_json)


def remove(*, backend: Backend, name: Name, data: Data = None) -> None:
    """Schedule a window no more; one that is open is closed.

    Example: rap backend window remove tpp patching
    """
    from cli.connection import ask
    from cli.operations import windows

    slug = environment.backend_of(backend, environment.enter(data))
    ask(lambda client: windows.remove(client, slug, name))
    say(stdout(), f"Window {name} of {slug} is removed; if it was open, it is closed")
