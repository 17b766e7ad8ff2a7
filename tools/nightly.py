"""Everything that takes minutes, group by group: ``scripts/nightly [GROUP…]``.

What came of each group is kept in ``.nightly/``, with its log. So a run that was broken off goes
on where it was: a group that this commit has passed is not run again, unless ``--again`` says so
or files were changed since. All of it is sized to take less than an hour on two cores.
"""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

_ROOT = Path(__file__).parent.parent
_FOLDER = _ROOT / ".nightly"
_UV = Path.home() / ".cache" / "opensafely-rap" / "uv" / "bin" / "uv"
_NO_TESTS = 5
"""What pytest ends with when nothing fits."""
_PARALLEL = ("-n", "auto", "--dist", "worksteal")
_THOROUGH = ("--hypothesis-profile", "nightly", "-o", "timeout=1500")


@dataclass(frozen=True)
class Group:
    """One command."""

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    also_well: tuple[int, ...] = ()
    """Exit statuses beside 0 that mean success."""


@dataclass(frozen=True)
class Outcome:
    """What came of a group."""

    commit: str
    passed: bool
    seconds: float


def _on_python(version: str) -> Group:
    """The tests of pure code on another Python, in an environment of its own."""
    uv = "uv" if _answers("uv") else str(_UV)
    # Uv does not look at pyenv's; what is not here at all, it fetches.
    pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    python = str(pyenv[-1]) if pyenv else version
    pytest = ("python", "-m", "pytest", "-q", "--complete", "--groups", "unit", *_PARALLEL)
    return Group(
        (uv, "run", "--locked", "--quiet", "--python", python, *pytest),
        env={"UV_PROJECT_ENVIRONMENT": str(_FOLDER / f"venv-{version}")},
    )


def _answers(program: str) -> bool:
    try:
        subprocess.run([program, "--version"], check=True, capture_output=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


_GROUPS: Mapping[str, Group] = {
    "marked": Group(("scripts/test", "-q", "--nightly"), also_well=(_NO_TESTS,)),
    "python-3.11": _on_python("3.11"),
    "python-3.12": _on_python("3.12"),
    "python-3.13": _on_python("3.13"),
    "properties": Group(
        ("scripts/test", "-q", "-m", "hypothesis", "--groups", "unit", *_PARALLEL, *_THOROUGH)
    ),
    "schemathesis": Group(
        ("scripts/test", "-q", "tests/unit/api/test_schemathesis.py", *_THOROUGH)
    ),
    "mutation-planning": Group(("scripts/mutate", "planning")),
    "mutation-gate": Group(("scripts/mutate", "gate")),
    "mutation-paths": Group(("scripts/mutate", "paths")),
    "chaos": Group(
        ("scripts/test", "-q", "-s", "tests/chaos"),
        env={"RAP_CHAOS_POINTS": "25", "RAP_CHAOS_SEEDS": "1,2,3,4"},
    ),
}


def main(
    groups: Annotated[
        list[str] | None, typer.Argument(help=f"Some of: {', '.join(_GROUPS)}. Default: all.")
    ] = None,
    *,
    again: Annotated[bool, typer.Option(help="Also what this commit has passed.")] = False,
) -> None:
    """Run groups that were not passed yet, and end with a table; fails if one fails."""
    chosen = groups or list(_GROUPS)
    if unknown := [name for name in chosen if name not in _GROUPS]:
        raise typer.BadParameter(f"{', '.join(unknown)} is none of {', '.join(_GROUPS)}")
    commit = _commit()
    _FOLDER.mkdir(exist_ok=True)
    table = Table("group", "result", "duration", "log")
    failed = False
    for name in chosen:
        outcome = _kept(name)
        before = outcome is not None and outcome.passed and outcome.commit == commit
        if outcome is None or not before or again:
            outcome = _run(name, _GROUPS[name], commit)
        result = "passed" if outcome.passed else "FAILED"
        told = f"{result} before" if before and not again else result
        minutes, seconds = divmod(round(outcome.seconds), 60)
        table.add_row(name, told, f"{minutes}:{seconds:02}", f".nightly/{name}.log")
        failed = failed or not outcome.passed
    Console().print(table)
    raise typer.Exit(int(failed))


def _run(name: str, group: Group, commit: str) -> Outcome:
    typer.echo(f"==> {name}: {' '.join(group.words)}")
    begin = time.monotonic()
    with (_FOLDER / f"{name}.log").open("wb") as log:
        done = subprocess.run(  # noqa: S603 - one of the commands above
            group.words,
            cwd=_ROOT,
            env={**os.environ, **group.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    passed = done.returncode in (0, *group.also_well)
    outcome = Outcome(commit, passed, time.monotonic() - begin)
    (_FOLDER / f"{name}.json").write_text(json.dumps(asdict(outcome)) + "\n")
    return outcome


def _kept(name: str) -> Outcome | None:
    try:
        return Outcome(**json.loads((_FOLDER / f"{name}.json").read_text()))
    except FileNotFoundError:
        return None


def _commit() -> str:
    """The commit that is checked out; another text each time if files differ from it."""
    described = subprocess.run(
        ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"],  # noqa: S607
        cwd=_ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    return f"{described} at {time.time()}" if described.endswith("-dirty") else described


if __name__ == "__main__":
    typer.run(main)
