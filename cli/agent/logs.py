"""``rap agent logs``: what a job wrote, on the host where that may be read."""

from __future__ import annotations

import asyncio
import codecs
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from cli.agent import place as agent_place
from cli.agent.place import Data
from cli.console import patience, printable, say, stderr
from rap.errors import RapError

if TYPE_CHECKING:
    from worker_agent.operations.place import Place


def logs(
    *,
    job: Annotated[str, typer.Argument(metavar="JOB", help="The id of a job, or a part of it.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the program ends.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=1, help="Only so many last lines.")
    ] = None,
    data: Data = None,
) -> None:
    """Show what a job wrote: from its container while there is one, else its filed log.

    What it shows is sensitive: it must not leave this host.

    Example: rap agent logs k3v7 --follow
    """
    place = agent_place.enter(data)
    with agent_place.explained():
        asyncio.run(_show(place, job, follow=follow, tail=tail))


async def _show(place: Place, part: str, *, follow: bool, tail: int | None) -> None:
    from worker_agent.operations.logs import Sources

    err = stderr()
    with patience(err, "Looking for the log …"):
        sources = await Sources.of(place)
    job_id = agent_place.choose(err, part, sources.job_ids, "logs", ask=sys.stdin.isatty())
    if follow and job_id not in sources.live:
        say(err, f"Job {job_id} has ended; this is its whole log.")
    try:
        await sources.copy(job_id, _writer(), follow=follow, tail=tail)
    except OSError as error:
        raise RapError(f"The log of job {job_id} cannot be read: {error.strerror}") from error
    if follow and job_id in sources.live:
        say(err, f"The program of job {job_id} has ended.")


def _writer() -> Callable[[bytes], None]:
    """Writes to standard output: on a terminal without what could control it, else the bytes."""
    if not sys.stdout.isatty():

        def raw(chunk: bytes) -> None:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()

        return raw
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def safe(chunk: bytes) -> None:
        sys.stdout.write(printable(decoder.decode(chunk)))
        sys.stdout.flush()

    return safe
