"""``rap cancel``: cancel jobs of a RAP (rap-api.md A7)."""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from temporalio.client import Client

from rap.cli import environment, orders, show
from rap.cli.jobs import has_ended, jobs_of
from rap.cli.status import unknown_of
from rap.errors import RapError, Unavailable
from rap.messages import CancelRequest
from rap.records import Records

SEEN_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.1
"""The read model has no events to wait for."""


def command(rap_id: str, actions: Sequence[str], *, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap cancel``; its exit code."""
    environment.enter(data)
    out = show.console(errors=as_json)
    records = environment.open_records()
    chosen = choose(records, rap_id, actions)
    if chosen:
        with show.patience(out, "Waiting for the jobs to end …"):
            asyncio.run(_connect_and_cancel(records, rap_id, chosen))
            wait_until_seen(records, rap_id, chosen)
        show.say(out, f"{len(chosen)} action{'' if len(chosen) == 1 else 's'} cancelled")
    else:
        show.say(out, f"All jobs of RAP {rap_id} have ended already; nothing was cancelled.")
    if as_json:
        show.print_json({"rap_id": rap_id, "cancelled": chosen, "jobs": jobs_of(records, [rap_id])})
    return 0


async def _connect_and_cancel(records: Records, rap_id: str, actions: Sequence[str]) -> None:
    await cancel(await orders.connected(), records, rap_id, actions)


def choose(records: Records, rap_id: str, actions: Sequence[str]) -> list[str]:
    """The actions to cancel: those named, or all that have not ended.

    Raises:
        RapError: there is no such RAP, or it has no such actions; nothing is to be cancelled.
    """
    jobs = jobs_of(records, [rap_id])
    if not jobs:
        raise RapError(unknown_of(records, [rap_id])[rap_id])
    unknown = sorted(set(actions) - {job["action"] for job in jobs})
    if unknown:
        known = ", ".join(job["action"] for job in jobs)
        raise RapError(
            f"RAP {rap_id} has no action {', '.join(unknown)}; it has {known}. "
            "Nothing was cancelled."
        )
    unfinished = [job["action"] for job in jobs if not has_ended(job)]
    return list(dict.fromkeys(actions)) or unfinished


async def cancel(client: Client, records: Records, rap_id: str, actions: Sequence[str]) -> None:
    """Tell the workspace of a RAP to cancel actions of it.

    Raises:
        Unavailable: no answer came; whether they will be cancelled is not known.
    """
    first = jobs_of(records, [rap_id])[0]
    request = CancelRequest(rap_id=rap_id, actions=tuple(actions), at=time.time(), by="rap cancel")
    with orders.explained(rap_id):
        await orders.orchestrator(client).cancel(first["backend"], first["workspace"], request)


def wait_until_seen(
    records: Records, rap_id: str, actions: Sequence[str], *, within: float = SEEN_WITHIN_S
) -> None:
    """Wait until readers see that the jobs of cancelled actions have ended.

    Raises:
        Unavailable: they do not within so many seconds; the text says what that may mean.
    """
    deadline = time.monotonic() + within
    while not all(has_ended(job) for job in jobs_of(records, [rap_id]) if job["action"] in actions):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"RAP {rap_id} was told to cancel, but not all of these jobs have ended after "
                f"{within:.0f} s. `rap status {rap_id}` shows them; if they stay as they are, the "
                "workflow of the RAP may have been terminated, or the controller does not run."
            )
        time.sleep(_LOOK_EVERY_S)
