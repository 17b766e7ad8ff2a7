"""What the demo shows: progress while the jobs run, then jobs, files, folders and addresses."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.local_system import LocalSystem
from rap import ids

Job = dict[str, Any]
_COLOURS = {"pending": "dim", "running": "cyan", "succeeded": "green", "failed": "red"}
_LOG_LINES = 15


@contextmanager
def progress(console: Console) -> Iterator[Callable[[Sequence[Job], float], None]]:
    """Yields what shows where the jobs stand, so many seconds after the request.

    A table that changes in a terminal; elsewhere a line for every change.
    """
    if console.is_terminal:
        # The table of the end is printed with more detail afterwards.
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda jobs, seconds: live.update(_states(jobs, seconds), refresh=True)
        return
    seen: dict[str, str] = {}

    def show(jobs: Sequence[Job], seconds: float) -> None:
        for job in jobs:
            code = job["status_code"]
            if seen.get(job["action"]) != code:
                seen[job["action"]] = code
                console.print(f"  {seconds:5.1f} s  {job['action']:<18} {code}", highlight=False)

    yield show


def _states(jobs: Sequence[Job], seconds: float) -> RenderableType:
    table = Table(box=None, show_header=False, title=f"{seconds:.0f} s", title_justify="left")
    for job in jobs:
        table.add_row(job["action"], Text(job["status_code"], _COLOURS[job["status"]]))
    return table


def _jobs(jobs: Sequence[Job]) -> Table:
    table = _table("Jobs", "action", "job", "status", "seconds", "message")
    for job in jobs:
        table.add_row(
            job["action"],
            job["identifier"],
            Text(job["status"], _COLOURS[job["status"]]),
            _seconds(job),
            job["status_message"],
        )
    return table


def _table(title: str, *headings: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading in {"seconds", "rows"} else "left")
    return table


def _seconds(job: Job) -> str:
    if not (job["started_at"] and job["completed_at"]):
        return ""
    started, completed = map(datetime.fromisoformat, (job["started_at"], job["completed_at"]))
    return f"{(completed - started).total_seconds():.0f}"


def manifest_of(medium_privacy: Path, workspace: str) -> dict[str, Any]:
    """The manifest that output checkers' tools read; empty if there is none."""
    path = medium_privacy / "workspaces" / workspace / "metadata" / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    return manifest


def _outputs(manifest: dict[str, Any]) -> Table:
    title = "Manifest: what may be reviewed for release"
    table = _table(title, "file", "level", "excluded", "rows", "message")
    for name, entry in sorted(manifest.get("outputs", {}).items()):
        excluded = bool(entry.get("excluded"))
        rows = entry.get("row_count")
        table.add_row(
            name,
            entry.get("level", ""),
            Text("yes", "yellow") if excluded else "no",
            "" if rows is None else str(rows),
            entry.get("message") or "",
        )
    return table


def print_results(
    console: Console,
    system: LocalSystem,
    workspace: str,
    jobs: Sequence[Job],
    manifest: dict[str, Any],
) -> None:
    """The jobs, what may be reviewed of their outputs, and where the outputs and logs are."""
    console.print()
    console.print(_jobs(jobs))
    console.print(_outputs(manifest))
    console.print("Outputs and logs", style="italic")
    containers = {ids.container_name(job["identifier"]) for job in jobs}
    logs = system.high_privacy / "logs"
    months = sorted({log.parent for log in logs.glob("*/*") if log.name in containers})
    folders = [
        ("all outputs (stay in the backend)", system.high_privacy / "workspaces" / workspace),
        ("files for review", system.medium_privacy / "workspaces" / workspace),
        *(("log and metadata of each job", month) for month in months),
    ]
    for what, folder in folders:
        files = sum(path.is_file() for path in folder.rglob("*")) if folder.is_dir() else 0
        console.print(f"  {what}: {folder} ({files} files)", soft_wrap=True, highlight=False)


def print_addresses(console: Console, system: LocalSystem, *, keep: bool) -> None:
    """Where to look on."""
    if not keep:
        console.print(
            f"Temporal's Web UI was at {system.server.ui_url}; all is stopped now. "
            "`scripts/demo --keep` leaves it running.",
            soft_wrap=True,
        )
        return
    env = system.folder / "env"
    env.touch(mode=0o600)  # it holds the token
    env.write_text("".join(f"export {name}='{value}'\n" for name, value in system.env.items()))
    console.print(f"Temporal's Web UI: {system.server.ui_url}")
    console.print(f"API: {system.api_url} (for the `rap` command: source {env})", soft_wrap=True)
    console.print("Ctrl-C stops everything.")


def print_ends_of_logs(console: Console, logs: Path) -> None:
    """The last lines of every process's log, for finding what went wrong."""
    for log in sorted(logs.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        if lines:
            console.print(f"\n--- {log}", style="bold", soft_wrap=True)
            for line in lines:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
