"""Mutation testing of one part of the code: ``scripts/mutate PART``.

mutmut knows one configuration per project. So each part is run in a copy of the tree, below
``var/mutation``, whose project file names that part alone; work on the tree may go on meanwhile.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from tools.tracked import project_files

_ROOT = Path(__file__).parent.parent
_COUNTED = ("killed", "survived", "no_tests", "timeout", "suspicious", "segfault")
_NOTICED = ("killed", "timeout", "segfault")
"""A change that makes a test hang or die was noticed."""


def main(
    part: Annotated[
        str, typer.Argument(help="One of those under tool.mutation in pyproject.toml.")
    ],
    least: Annotated[
        float, typer.Option(help="Percent of the changes that the tests must notice.")
    ] = 90.0,
    children: Annotated[int, typer.Option(help="Processes that test at the same time.")] = 2,
) -> None:
    """Change a part of the code in every way mutmut knows, and count what the tests notice.

    Prints JSON; fails when too little is noticed. The changes that nobody noticed are listed on
    standard error, with the command that shows one.
    """
    text = (_ROOT / "pyproject.toml").read_text()
    parts: dict[str, dict[str, Any]] = tomllib.loads(text)["tool"]["mutation"]
    if part not in parts:
        raise typer.BadParameter(f"{part} is not one of {', '.join(parts)}", param_hint="PART")
    copy = _ROOT / "var" / "mutation" / part
    _copy_tree(copy)
    (copy / "pyproject.toml").write_text(_configured(text, parts[part]))
    mutmut = Path(sys.executable).parent / "mutmut"
    environment = {**os.environ, "PYTHONPATH": "."}

    def run(*words: str) -> None:
        subprocess.run(  # noqa: S603 - our own virtual environment's command
            [mutmut, *words], cwd=copy, check=True, stdout=sys.stderr, env=environment
        )

    run("run", "--max-children", str(children))
    run("results")
    run("export-cicd-stats")
    counts = json.loads((copy / "mutants" / "mutmut-cicd-stats.json").read_text())
    total = sum(counts[name] for name in _COUNTED)
    noticed = sum(counts[name] for name in _NOTICED)
    score = round(100 * noticed / total, 1) if total else 0.0
    typer.echo(json.dumps({"part": part, "noticed": noticed, "of": total, "score": score}))
    if score < least:
        typer.echo(f"Look at one with: cd {copy.relative_to(_ROOT)} && mutmut show NAME", err=True)
        raise typer.Exit(1)


def _copy_tree(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    for name in project_files(_ROOT):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(_ROOT / name, target / name)


def _configured(text: str, part: dict[str, Any]) -> str:
    """The project file with a part's modules and tests under ``tool.mutmut``."""
    head = re.escape("[tool.mutmut]\n")
    lines = f"only_mutate = {json.dumps(part['modules'])}\n"
    lines += f"pytest_add_cli_args_test_selection = {json.dumps(part['tests'])}\n"
    return re.sub(head, lambda found: found[0] + lines, text, count=1)


if __name__ == "__main__":
    typer.run(main)
