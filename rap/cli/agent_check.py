"""``rap agent check``: what this host needs, and what is wrong with it."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from rap.cli import agent_place, show
from worker_agent.operations.checkup import check_up
from worker_agent.operations.findings import Finding, Level

_COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "bold red"}
_INDENT = " " * 9


def command(*, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap agent check``; its exit code: 1 if there is a problem."""
    place = agent_place.enter(data)
    with show.patience(show.console(errors=True), "Asking Docker, Temporal and the registry …"):
        found = asyncio.run(check_up(place))
    healthy = all(finding.level is not Level.PROBLEM for finding in found)
    if as_json:
        checks = [finding.model_dump(mode="json") for finding in found]
        show.print_json({"ok": healthy, "checks": checks})
    else:
        _print(found)
    return 0 if healthy else 1


def _print(found: Sequence[Finding]) -> None:
    out = show.console()
    for finding in found:
        line = Text(f"{finding.level.value:<{len(_INDENT)}}", style=_COLOURS[finding.level])
        line.append(f"{finding.subject}: {agent_place.printable(finding.text)}", style="default")
        out.print(line, soft_wrap=True)
        if finding.remedy:
            show.say(out, f"{_INDENT}-> {agent_place.printable(finding.remedy)}")
    counts = Counter(finding.level for finding in found)
    warnings, problems = counts[Level.WARNING], counts[Level.PROBLEM]
    show.say(out, f"\nok: {counts[Level.OK]}, warnings: {warnings}, problems: {problems}")
