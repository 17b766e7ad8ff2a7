"""How the commands that examine something tell what they found."""

from collections import Counter
from collections.abc import Iterator, Sequence

import typer
from rich.console import RenderableType
from rich.text import Text

from cli.console import printable, reply
from rap.findings import Finding, Level

_COLOURS = {
    Level.OK: "green",
    Level.REPAIRED: "cyan",
    Level.WARNING: "yellow",
    Level.PROBLEM: "bold red",
}
_INDENT = " " * 9


def tell(found: Sequence[Finding], *, as_json: bool) -> None:
    """Print what was found; ends the command with 1 if there is a problem."""
    healthy = all(finding.level is not Level.PROBLEM for finding in found)
    checks = [finding.model_dump(mode="json") for finding in found]
    reply({"ok": healthy, "checks": checks}, _lines(found), as_json=as_json)
    if not healthy:
        raise typer.Exit(1)


def _lines(found: Sequence[Finding]) -> Iterator[RenderableType]:
    for finding in found:
        line = Text(f"{finding.level.value:<{len(_INDENT)}}", style=_COLOURS[finding.level])
        yield line.append(f"{finding.subject}: {printable(finding.text)}", style="default")
        if finding.remedy:
            yield f"{_INDENT}-> {printable(finding.remedy)}"
    counts = Counter(finding.level for finding in found)
    mended = f"repaired: {counts[Level.REPAIRED]}, " if counts[Level.REPAIRED] else ""
    warnings, problems = counts[Level.WARNING], counts[Level.PROBLEM]
    yield f"\nok: {counts[Level.OK]}, {mended}warnings: {warnings}, problems: {problems}"
