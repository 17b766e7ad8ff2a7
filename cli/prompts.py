"""Asking the person at the terminal before something is done that cannot be undone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cli.console import say
from rap.errors import RapError

if TYPE_CHECKING:
    from rich.console import Console

_QUESTION = "Are you sure you want to continue? (y/N) "


def agrees(out: Console) -> bool:
    """Whether the person wants to go on; all but ``y`` declines, and so does the input's end."""
    line = _ask(out, _QUESTION)
    if not line.endswith("\n"):
        # Nobody pressed the key that would have ended the line of the question.
        say(out, "")
    return line.strip().lower() == "y"


def answer(out: Console, question: str) -> str:
    """Ask, and wait for a line; RapError if there is nobody to answer."""
    line = _ask(out, question)
    if not line:
        raise RapError("\nNo answer came; nothing was done.")
    return line.rstrip("\n")


def pick(out: Console, found: Sequence[str], *, ask: bool = True) -> str:
    """One of several, by the number that a person gives; RapError without a person."""
    for number, one in enumerate(found, 1):
        say(out, f"  {number}: {one}")
    say(out, "")
    if not ask:
        raise RapError("Name one of them in full.")
    while True:
        given = answer(out, "Enter number: ").strip()
        if given.isascii() and given.isdecimal() and 1 <= int(given) <= len(found):
            return found[int(given) - 1]
        say(out, f"Enter a number from 1 to {len(found)}.")


def _ask(out: Console, question: str) -> str:
    out.print(question, end="", soft_wrap=True)
    return sys.stdin.readline()
