"""Asking the person at the terminal before something is done that cannot be undone."""

import sys

from rich.console import Console

from rap.cli import show


def answer(out: Console, question: str) -> str:
    """Ask, and wait for a line; the end of the input is an empty answer."""
    out.print(f"{question} ", end="", markup=False, soft_wrap=True)
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        # Nobody pressed the key that would have ended the line of the question.
        show.say(out, "")
    return line.strip()
