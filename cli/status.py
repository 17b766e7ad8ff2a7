"""``rap status``: the jobs of RAPs, from the read model alone; it works while Temporal is down."""

from typing import Annotated

import typer

from cli import environment
from cli.console import reply
from cli.options import Data, Json
from rap.errors import RapError

RECENT = 10


def status(
    *,
    rap_ids: Annotated[
        list[str] | None, typer.Argument(metavar="RAP_ID", help="RAPs to show.")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="Only RAPs of this backend. Default: all.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Without RAP_ID: all RAPs ever.")
    ] = False,
    keep_watching: Annotated[
        bool, typer.Option("--watch", "-w", help="Follow the jobs until all have ended.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show the jobs of RAPs; without RAP_ID the ten latest RAPs, unfinished ones first.

    Example: rap status a1b2c3d4e5f6g7h8 --watch
    """
    from cli.rap_jobs import follow_on_terminal, jobs_of, tables, unknown_of

    settings = environment.enter(data)
    backends = environment.backends_of(backend, settings)
    records = environment.open_records()
    unknown = unknown_of(records, rap_ids or [])
    shown = [rap_id for rap_id in dict.fromkeys(rap_ids or []) if rap_id not in unknown]
    if not rap_ids:
        shown = records.latest_raps(backends, limit=None if everything else RECENT)
    if keep_watching and shown:
        jobs = follow_on_terminal(records, shown, data=data, as_json=as_json)
        lines = []
    else:
        jobs = jobs_of(records, shown)
        lines = [tables(jobs)] if jobs else []
    if not rap_ids and not jobs:
        lines = [f"There are no RAPs on {', '.join(backends)} yet."]
    reply({"jobs": jobs, "unrecognised_rap_ids": list(unknown)}, lines, as_json=as_json)
    if unknown:
        raise RapError("\n".join(unknown.values()))
