"""``rap agent logs``: what a job wrote, on the host where that may be read."""

import asyncio
import codecs
import sys
from collections.abc import Callable
from pathlib import Path

from rap.cli import agent_place, show
from rap.errors import RapError
from worker_agent.operations.logs import Sources
from worker_agent.operations.place import Place


def command(part: str, *, follow: bool, tail: int | None, data: Path | None) -> int:
    """Carry out ``rap agent logs``; its exit code."""
    place = agent_place.enter(data)
    with agent_place.explained():
        return asyncio.run(_show(place, part, follow=follow, tail=tail))


async def _show(place: Place, part: str, *, follow: bool, tail: int | None) -> int:
    err = show.console(errors=True)
    with show.patience(err, "Looking for the log …"):
        sources = await Sources.of(place)
    job_id = agent_place.choose(err, part, sources.job_ids, "logs", ask=sys.stdin.isatty())
    if follow and job_id not in sources.live:
        show.say(err, f"Job {job_id} has ended; this is its whole log.")
    try:
        await sources.copy(job_id, _writer(), follow=follow, tail=tail)
    except OSError as error:
        raise RapError(f"The log of job {job_id} cannot be read: {error.strerror}") from error
    if follow and job_id in sources.live:
        show.say(err, f"The program of job {job_id} has ended.")
    return 0


def _writer() -> Callable[[bytes], None]:
    """Writes to standard output: on a terminal without what could control it, else the bytes."""
    if not sys.stdout.isatty():

        def raw(chunk: bytes) -> None:
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()

        return raw
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def safe(chunk: bytes) -> None:
        sys.stdout.write(agent_place.printable(decoder.decode(chunk)))
        sys.stdout.flush()

    return safe
