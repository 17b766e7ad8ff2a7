"""``rap status``: the jobs of RAPs, from the read model alone; it works while Temporal is down."""

from collections.abc import Sequence
from pathlib import Path

from rap.cli import environment, show
from rap.cli.jobs import jobs_of
from rap.cli.watch import INTERRUPTED, watch
from rap.errors import RapError
from rap.records import Records
from rap.rows import IntentState

RECENT = 10


def command(
    rap_ids: Sequence[str],
    *,
    backend: str | None,
    everything: bool,
    keep_watching: bool,
    data: Path | None,
    as_json: bool,
) -> int:
    """Carry out ``rap status``; its exit code."""
    settings = environment.enter(data)
    backends = (environment.backend_of(backend, settings),) if backend else settings.backends
    records = environment.open_records()
    unknown = unknown_of(records, rap_ids)
    shown = [rap_id for rap_id in dict.fromkeys(rap_ids) if rap_id not in unknown]
    if not rap_ids:
        shown = records.latest_raps(backends, limit=None if everything else RECENT)
    if keep_watching and shown:
        try:
            jobs = watch(records, shown, data=data, as_json=as_json)
        except KeyboardInterrupt:
            return INTERRUPTED
    else:
        jobs = jobs_of(records, shown)
    if as_json:
        show.print_json({"jobs": jobs, "unrecognised_rap_ids": list(unknown)})
    elif not keep_watching and jobs:
        show.console().print(show.tables(jobs))
    elif not rap_ids and not jobs:
        show.say(show.console(), f"There are no RAPs on {', '.join(backends)} yet.")
    if unknown:
        raise RapError("\n".join(unknown.values()))
    return 0


def unknown_of(records: Records, rap_ids: Sequence[str]) -> dict[str, str]:
    """Those of the RAPs that have no jobs, and a sentence about each."""
    missing = [rap_id for rap_id in dict.fromkeys(rap_ids) if not records.rap(rap_id)]
    intents = records.intents(missing)
    return {
        rap_id: (
            f"The request for RAP {rap_id} is being decided; ask again in a moment."
            if rap_id in intents and intents[rap_id].state is IntentState.PENDING
            else f"There is no RAP {rap_id}; `rap status` lists the latest ones."
        )
        for rap_id in missing
    }
