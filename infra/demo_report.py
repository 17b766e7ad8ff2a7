"""What the demo shows: progress while the jobs run, then jobs, files, folders and addresses."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.local_system import LocalSystem
from rap import ids

Job = dict[str, Any]
_COLOURS = {"pending": "dim", "running": "cyan", "succeeded": "green", "failed": "red"}
_LOG_LINES = 15


class Progress:
    """A table that changes in a terminal; elsewhere a line for every change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._seen: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            # The table of the end is printed with more detail afterwards.
            self._live.update(Text(""), refresh=True)
            self._live.stop()

    def show(self, jobs: Sequence[Job], seconds: float) -> None:
        """Show where the jobs stand, ``seconds`` after the request."""
        if self._live:
            self._live.update(self._table(jobs, seconds), refresh=True)
            return
        for job in jobs:
            code = job["status_code"]
            if self._seen.get(job["action"]) != code:
                self._seen[job["action"]] = code
                self._console.print(
                    f"  {seconds:5.1f} s  {job['action']:<18} {code}", highlight=False
                )

    def _table(self, jobs: Sequence[Job], seconds: float) -> RenderableType:
        table = Table(box=None, show_header=False, title=f"{seconds:.0f} s", title_justify="left")
        for job in jobs:
            colour = _COLOURS[job["status"]]
            table.add_row(job["action"], Text(job["status_code"], colour))
        return table


def table_of(jobs: Sequence[Job]) -> Table:
    """The jobs as the API tells them."""
    table = Table(title="Jobs", title_justify="left")
    for heading in ("action", "job", "status", "seconds", "message"):
        table.add_column(heading, justify="right" if heading == "seconds" else "left")
    for job in jobs:
        table.add_row(
            job["action"],
            job["identifier"],
            Text(job["status"], _COLOURS[job["status"]]),
            _duration(job),
            job["status_message"],
        )
    return table


def _duration(job: Job) -> str:
    if not (job["started_at"] and job["completed_at"]):
        return ""
    moments = [
        datetime.fromisoformat(job[name].replace("Z", "+00:00"))
        for name in ("started_at", "completed_at")
    ]
    return f"{(moments[1] - moments[0]).total_seconds():.0f}"


def manifest_of(medium_privacy: Path, workspace: str) -> dict[str, Any]:
    """The manifest that output checkers' tools read; empty if there is none."""
    path = medium_privacy / "workspaces" / workspace / "metadata" / "manifest.json"
    if not path.is_file():
        return {}
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest


def table_of_manifest(manifest: dict[str, Any]) -> Table:
    """Which files output checkers see, and which were kept back."""
    table = Table(title="Manifest: what may be reviewed for release", title_justify="left")
    for heading in ("file", "level", "excluded", "rows", "message"):
        table.add_column(heading, justify="right" if heading == "rows" else "left")
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


def print_folders(
    console: Console, system: LocalSystem, workspace: str, job_ids: Sequence[str]
) -> None:
    """Where the outputs and logs are."""
    console.print("Outputs and logs", style="italic")
    containers = {ids.container_name(job_id) for job_id in job_ids}
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
    env = system.write_env_file()
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
