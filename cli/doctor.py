"""``rap doctor``: find what is inconsistent in a system, and mend it."""

from typing import Annotated

import typer

from cli import environment
from cli.console import patience, stderr
from cli.options import Data, Json


def doctor(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is wrong.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Find what is inconsistent in the system, and mend it.

    Starts again what was terminated by hand, closes RAPs that nothing runs any more, frees slots
    that nothing uses. Stops no job. Ends with 1 if a problem is left.

    Example: rap doctor --dry-run
    """
    from cli import checklist
    from cli.connection import ask
    from cli.operations.doctor import Doctor
    from rap.settings import ControllerSettings, load

    environment.enter(data)
    records = environment.open_records()
    settings = load(ControllerSettings)
    with patience(stderr(), "Comparing Temporal with the read model …"):
        found = ask(lambda client: Doctor(client, records, settings, mend=not dry_run).examine())
    checklist.tell(found, as_json=as_json)
