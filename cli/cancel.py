"""``rap cancel``: cancel jobs of a RAP (docs/spec/rap-api.md A7)."""

from typing import Annotated

import typer

from cli import environment
from cli.console import counted, messages, patience, print_json, say
from cli.options import Data, Json, RapId


def cancel(
    *,
    rap_id: RapId,
    actions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ACTION", help="What to cancel. Default: all actions that have not ended."
        ),
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Cancel jobs of a RAP, and wait until that shows.

    Jobs that wait for a cancelled one fail. A named action that has ended keeps its result, but
    counts as never run for later requests.

    Example: rap cancel a1b2c3d4e5f6g7h8 make_table make_plot
    """
    from cli.connection import ask
    from cli.operations import requests
    from cli.rap_jobs import jobs_of

    environment.enter(data)
    out = messages(as_json=as_json)
    records = environment.open_records()
    chosen = requests.choose(records, rap_id, actions or [])
    if chosen:
        with patience(out, "Waiting for the jobs to end …"):
            ask(lambda client: requests.cancel(client, records, rap_id, chosen))
            requests.wait_until_seen(records, rap_id, chosen)
        say(out, f"{counted(len(chosen), 'action')} cancelled")
    else:
        say(out, f"All jobs of RAP {rap_id} have ended already; nothing was cancelled.")
    if as_json:
        print_json({"rap_id": rap_id, "cancelled": chosen, "jobs": jobs_of(records, [rap_id])})
