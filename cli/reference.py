"""Writes the page about the commands from the commands: ``python -m cli.reference``."""

import sys
from pathlib import Path

import typer
from typer.cli import get_docs_for_click

from cli.main import app

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"

_NOTE = """\
This page is made from the code by `just fix`. What the commands have in common, and what they
print with `--json`, is told in [how the commands behave](cli-behaviour.md)."""


def page() -> str:
    """The whole page."""
    context = typer.Context(app, **app.context_settings)
    title = f"The `rap` command\n\n{_NOTE}"
    text = get_docs_for_click(obj=app, ctx=context, name="rap", title=title)
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.name} is up to date\n")
