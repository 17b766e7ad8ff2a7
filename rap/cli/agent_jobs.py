"""``rap agent jobs``: what runs on this host now."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.live import Live
from rich.table import Table
from rich.text import Text

from rap.cli import agent_place, show
from worker_agent.engine.observing import moment
from worker_agent.operations.jobs import RunningJob, Watch, age
from worker_agent.operations.place import Place

_LOOK_EVERY = 2.0
_NONE = "-"


def command(*, watch: bool, last_line: bool, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap agent jobs``; its exit code."""
    place = agent_place.enter(data)
    with agent_place.explained():
        if watch:
            asyncio.run(_watch(place, last_line=last_line))
            return 0
        out = show.console(errors=True)
        with show.patience(out, "Waiting for Docker …"):
            jobs = asyncio.run(Watch(place, with_text=last_line).look())
    if as_json:
        show.print_json({"jobs": [_document(job) for job in jobs]})
    else:
        _print(jobs, last_line=last_line)
    return 0


async def _watch(place: Place, *, last_line: bool) -> None:
    """Show the jobs until Ctrl-C: in place on a terminal, elsewhere one table after another."""
    look = Watch(place, with_text=last_line).look
    out = show.console()
    if not out.is_terminal:
        while True:
            _print(await look(), last_line=last_line)
            out.print()
            out.file.flush()
            await asyncio.sleep(_LOOK_EVERY)
    with Live(console=out, auto_refresh=False, screen=False) as live:
        while True:
            jobs = await look()
            live.update(_table(jobs, last_line=last_line) if jobs else Text(_NOTHING), refresh=True)
            await asyncio.sleep(_LOOK_EVERY)


_NOTHING = "No jobs run on this host."


def _print(jobs: Sequence[RunningJob], *, last_line: bool) -> None:
    out = show.console()
    if jobs:
        out.print(_table(jobs, last_line=last_line))
    else:
        show.say(out, _NOTHING)


def _table(jobs: Sequence[RunningJob], *, last_line: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("job", no_wrap=True)
    table.add_column("workspace", overflow="fold")
    table.add_column("action", overflow="fold")
    for heading in ("age", "cpu", "memory", "limit", "last output"):
        table.add_column(heading, no_wrap=True, justify="right")
    if last_line:
        table.add_column("last line", overflow="fold")
    for job in jobs:
        row = [
            Text(job.job_id),
            Text(job.workspace),
            Text(job.action),
            Text(duration(age(job.started_at))),
            Text(_NONE if job.cpu_percent is None else f"{job.cpu_percent:.0f} %"),
            Text(_memory(job.memory_mb)),
            Text(_memory(job.memory_limit_mb)),
            Text(_ago(age(job.last_output_at))),
        ]
        if last_line:
            row.append(Text(agent_place.printable(job.last_output or "")))
        table.add_row(*row)
    return table


def _document(job: RunningJob) -> dict[str, Any]:
    document = job.model_dump(mode="json")
    for name in ("started_at", "last_output_at"):
        seconds = document[name]
        document[name] = None if seconds is None else moment(seconds)
    document["age_s"] = age(job.started_at)
    return document


def _memory(mebibytes: float | None) -> str:
    if mebibytes is None:
        return _NONE
    return f"{mebibytes:.0f} MiB" if mebibytes < 10_000 else f"{mebibytes / 1024:.1f} GiB"


def _ago(seconds: float | None) -> str:
    return "none yet" if seconds is None else f"{duration(seconds)} ago"


def duration(seconds: float | None) -> str:
    """A length of time for people, in its two largest units: ``3 h 20 min``."""
    if seconds is None:
        return _NONE
    whole = int(seconds)
    days, hours, minutes = whole // 86_400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    if minutes:
        return f"{minutes} min {whole % 60} s"
    return f"{whole} s"
