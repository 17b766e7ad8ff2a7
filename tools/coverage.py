"""Which branches the tests of pure code take: ``scripts/coverage [--gate] [ARGUMENTS OF PYTEST]``.

Pure modules say so in their docstring (``Pure.``). They decide, and have nothing that is hard to
test, so each of their branches must be taken.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tools.tracked import project_files

_ROOT = Path(__file__).parent.parent
_REPORT = _ROOT / "var" / "coverage.json"


app = typer.Typer()


@app.command(context_settings={"ignore_unknown_options": True})
def main(
    arguments: Annotated[list[str] | None, typer.Argument(help="For pytest.")] = None,
    *,
    gate: Annotated[bool, typer.Option(help="Fail if a pure module is not covered.")] = False,
) -> None:
    """Run the tests of pure code, print the figures, and name what pure modules leave out."""
    pytest = [sys.executable, "-m", "pytest", "-q", "--groups", "unit", "-n", "auto"]
    options = ["--dist", "worksteal", "--cov", "--cov-report", f"json:{_REPORT}"]
    done = subprocess.run([*pytest, *options, *(arguments or [])], cwd=_ROOT, check=False)  # noqa: S603
    if done.returncode:
        raise typer.Exit(done.returncode)
    report = json.loads(_REPORT.read_text())
    typer.echo(f"all modules   {_figures([report['totals']])}")
    pure = {path: report["files"][path] for path in pure_modules()}
    typer.echo(f"pure modules  {_figures([one['summary'] for one in pure.values()])}")
    gaps = [gap for path, found in sorted(pure.items()) for gap in _gaps(path, found)]
    typer.echo("".join(f"{gap}\n" for gap in gaps), nl=False)
    raise typer.Exit(int(gate and bool(gaps)))


def pure_modules() -> list[str]:
    """The modules whose docstring says that they are pure, below the root."""
    return [
        path
        for path in sorted(project_files(_ROOT))
        if path.endswith(".py")
        and not path.startswith(("tests/", "tools/"))
        and "Pure." in (ast.get_docstring(ast.parse((_ROOT / path).read_text())) or "")
    ]


def _figures(summaries: list[dict[str, Any]]) -> str:
    """Branches and statements, in percent and in all."""
    branches, taken, statements, run = (
        sum(one[key] for one in summaries)
        for key in ("num_branches", "covered_branches", "num_statements", "covered_lines")
    )
    return (
        f"{100 * taken / branches:.1f} % of {branches} branches, "
        f"{100 * run / statements:.1f} % of {statements} statements"
    )


def _gaps(path: str, found: dict[str, Any]) -> list[str]:
    """Where a module has code that no test runs, as ``path:line``."""
    lines = [f"{path}:{line} is not run" for line in found["missing_lines"]]
    missing = found["missing_lines"]
    return lines + [
        f"{path}:{start} never goes on at {end if end > 0 else 'the end'}"
        for start, end in found["missing_branches"]
        if start not in missing
    ]


if __name__ == "__main__":
    app()
