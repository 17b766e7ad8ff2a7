"""How the commands that examine something tell what they found."""

from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from rap.cli import agent_place, show
from rap.findings import Finding, Level

_COLOURS = {
    Level.OK: "green",
    Level.REPAIRED: "cyan",
    Level.WARNING: "yellow",
    Level.PROBLEM: "bold red",
}
_INDENT = " " * 9


def tell(found: Sequence[Finding], *, as_json: bool) -> int:
    """Print what was found; the exit code of the command: 1 if there is a problem."""
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
    mended = f"repaired: {counts[Level.REPAIRED]}, " if counts[Level.REPAIRED] else ""
    warnings, problems = counts[Level.WARNING], counts[Level.PROBLEM]
    show.say(out, f"\nok: {counts[Level.OK]}, {mended}warnings: {warnings}, problems: {problems}")
