"""``rap agent jobs``: what runs on this host now."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.agent import place as agent_place
from cli.agent.place import Data
from cli.console import live, patience, plain_table, printable, reply, stderr, stdout
from cli.options import Json
from rap.durations import elapsed

if TYPE_CHECKING:
    from rich.console import RenderableType

    from worker_agent.operations.jobs import RunningJob

_LOOK_EVERY = 2.0
_NONE = "-"


def jobs(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again, until Ctrl-C.")] = False,
    last_line: Annotated[
        bool,
        typer.Option("--last-line", help="Show the newest line of each program, too: sensitive."),
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the jobs whose containers run here: age, use of the machine, age of the last output.

    The processor is in percent of one core. A job that has not written anything for long may be
    stuck.

    Example: rap agent jobs --watch
    """
    from worker_agent.operations.jobs import Watch

    if watch and as_json:
        raise typer.BadParameter("--watch cannot be used with --json, which is one document")
    look = Watch(agent_place.enter(data), with_text=last_line).look
    with agent_place.explained():
        if watch:
            asyncio.run(_watch(look, last_line=last_line))
        with patience(stderr(), "Waiting for Docker …"):
            found = asyncio.run(look())
    document = {"jobs": [_document(job) for job in found]}
    reply(document, [_table(found, last_line=last_line)], as_json=as_json)


async def _watch(look: Callable[[], Awaitable[Sequence[RunningJob]]], *, last_line: bool) -> None:
    """Show the jobs until Ctrl-C: in place on a terminal, elsewhere one table after another."""
    out = stdout()
    with live(out) as update:
        while True:
            shown = _table(await look(), last_line=last_line)
            if update:
                update(shown)
            else:
                out.print(shown, "", sep="\n")
            await asyncio.sleep(_LOOK_EVERY)


def _table(jobs: Sequence[RunningJob], *, last_line: bool) -> RenderableType:
    from worker_agent.operations.jobs import age

    if not jobs:
        return "No jobs run on this host."
    table = plain_table("job")
    table.add_column("workspace", overflow="fold")
    table.add_column("action", overflow="fold")
    for heading in ("age", "cpu", "memory", "limit", "last output"):
        table.add_column(heading, no_wrap=True, justify="right")
    if last_line:
        table.add_column("last line", overflow="fold")
    for job in jobs:
        running, silent = age(job.started_at), age(job.last_output_at)
        row = [
            job.job_id,
            job.workspace,
            job.action,
            _NONE if running is None else elapsed(running),
            _NONE if job.cpu_percent is None else f"{job.cpu_percent:.0f} %",
            _memory(job.memory_mb),
            _memory(job.memory_limit_mb),
            "none yet" if silent is None else f"{elapsed(silent)} ago",
        ]
        if last_line:
            row.append(printable(job.last_output or ""))
        table.add_row(*row)
    return table


def _document(job: RunningJob) -> dict[str, Any]:
    from worker_agent.operations.jobs import age

    document = job.model_dump(mode="json")
    for name in ("started_at", "last_output_at"):
        seconds = document[name]
        document[name] = None if seconds is None else _moment(seconds)
    document["age_s"] = age(job.started_at)
    return document


def _moment(seconds: float) -> str:
    """ISO 8601, UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _memory(mebibytes: float | None) -> str:
    if mebibytes is None:
        return _NONE
    return f"{mebibytes:.0f} MiB" if mebibytes < 10_000 else f"{mebibytes / 1024:.1f} GiB"
