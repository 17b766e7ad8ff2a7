"""The help of the ``rap`` command: quick, complete, and the same at every level."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from cli.lazy_group import LazyGroup
from cli.main import app

pytestmark = pytest.mark.unit

HEAVY = ("pydantic", "temporalio", "sqlalchemy", "docker", "rich")
WALK = """
import contextlib, io, sys
from cli.main import run_app
for command in sys.stdin.read().splitlines():
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        assert run_app([*command.split(), "--help"]) == 0, command
    assert "Usage: rap" in shown.getvalue(), command
    loaded = [name for name in {heavy} if name in sys.modules]
    assert not loaded, f"rap {{command}} --help loads {{loaded}}"
"""


def commands(group: Any = app, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The words of every command and group below the root, also of those that are hidden."""
    for name in group.commands:
        command = group.get_command(None, name)
        yield (*path, name), command
        if isinstance(command, LazyGroup):
            yield from commands(command, (*path, name))


def test_no_help_loads_what_the_commands_need_for_their_work() -> None:
    walked = "\n".join(["", *(" ".join(words) for words, _ in commands())])
    done = subprocess.run(
        [sys.executable, "-c", WALK.format(heavy=HEAVY)],
        input=walked,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(*each, id=" ".join(each[0])) for each in commands()]
)
def test_every_command_explains_itself_and_has_an_example(
    words: tuple[str, ...], command: Any
) -> None:
    assert command.help
    if not isinstance(command, LazyGroup):
        assert f" rap {' '.join(words)}" in command.epilog


def test_a_group_says_of_its_commands_what_they_say_of_themselves() -> None:
    for words, command in commands():
        told = command.help.split("\n\n")[0]
        assert command.short_help == " ".join(told.split()), words


def test_every_command_is_in_the_module_of_its_name() -> None:
    for words, command in commands():
        if not isinstance(command, LazyGroup):
            path = ".".join(("cli", *words)).replace("-", "_")
            homes = (path, path.rpartition(".")[0], "cli.backend.aliases")
            assert command.callback.__wrapped__.__module__ in homes
