"""``rap backend window``: maintenance windows that open and close by themselves."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from rich.table import Table
from temporalio.client import Client
from temporalio.service import RPCError

from rap.cli import environment, orders, show
from rap.cli.orders_to_backend import Author
from rap.errors import ConfigurationError, Unavailable
from rap.messages import Window
from rap.rows import WindowKind
from worker_controller import windows
from worker_controller.windows import WindowPlan

Answer = TypeVar("Answer")


def add(
    backend: str,
    name: str,
    *,
    cron: str,
    duration: str,
    kind: WindowKind,
    time_zone: str,
    by: str | None,
    why: str,
    data: Path | None,
) -> int:
    """Carry out ``rap backend window add``."""
    slug = environment.backend_of(backend, environment.enter(data))
    try:
        seconds = windows.parse_length(duration)
    except ValueError as error:
        raise ConfigurationError(f"--duration: {error}") from None
    author = Author.of(by, why)
    plan = WindowPlan(
        window=Window(
            backend=slug, name=name, kind=kind, seconds=seconds, by=author.by, why=author.why
        ),
        cron=cron,
        time_zone=time_zone,
    )
    asyncio.run(_ask(lambda client: windows.add(client, plan)))
    made = asyncio.run(_ask(lambda client: windows.plan_of(client, slug, name)))
    first = f"{made.next_times[0]:%Y-%m-%d %H:%M} UTC" if made.next_times else "never"
    show.say(show.console(), f"Window {name} of {slug}: {kind}, {duration} long, first {first}")
    return 0


def list_windows(backend: str, *, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap backend window list``."""
    slug = environment.backend_of(backend, environment.enter(data))
    plans = asyncio.run(_ask(lambda client: windows.planned(client, slug)))
    if as_json:
        show.print_json({"windows": [plan.model_dump(mode="json") for plan in plans]})
        return 0
    out = show.console()
    if not plans:
        show.say(out, f"Backend {slug} has no maintenance windows")
        return 0
    table = Table("window", "does", "cron", "time zone", "hours", "next (UTC)", "by", "why")
    for plan in plans:
        window = plan.window
        coming = f"{plan.next_times[0]:%Y-%m-%d %H:%M}" if plan.next_times else "never"
        hours = f"{window.seconds / 3600:g}"
        table.add_row(
            window.name,
            window.kind,
            plan.cron,
            plan.time_zone,
            hours,
            coming,
            window.by,
            window.why,
        )
    out.print(table)
    return 0


def remove(backend: str, name: str, *, data: Path | None) -> int:
    """Carry out ``rap backend window remove``."""
    slug = environment.backend_of(backend, environment.enter(data))
    asyncio.run(_ask(lambda client: windows.remove(client, slug, name)))
    show.say(show.console(), f"Window {name} of {slug} is removed; if it was open, it is closed")
    return 0


async def _ask(question: Callable[[Client], Awaitable[Answer]]) -> Answer:
    try:
        return await question(await orders.connected())
    except RPCError as error:
        raise Unavailable(f"Temporal does not answer: {error.message}") from error
