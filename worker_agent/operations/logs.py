"""What a job wrote: from its container while there is one, else from the log that was kept."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from worker_agent.operations.place import Place
from worker_agent.workspace.job_log import CHUNK, start_of_last_lines
from worker_agent.workspace.storage import LOG_FILE


class Sources:
    """Where the logs of this host's jobs are: in containers, running or not, and in kept files.

    Any method may raise a JobFault while Docker does not answer.
    """

    def __init__(self, place: Place, containers: dict[str, str], files: dict[str, Path]) -> None:
        self._place = place
        self._containers = containers
        self._files = files

    @classmethod
    async def of(cls, place: Place) -> "Sources":
        """Look for them."""
        containers: dict[str, str] = {}
        for job_id in await place.engine.containers.job_ids():
            facts = await place.engine.containers.inspect(job_id)
            if facts is not None and facts.started and place.owns(job_id, facts):
                containers[job_id] = facts.id
        return cls(
            place, containers, await asyncio.to_thread(place.storage.newest_of_jobs, LOG_FILE)
        )

    @property
    def job_ids(self) -> list[str]:
        """The jobs that have a log: those with a container first, then in order."""
        return [*self._containers, *(job for job in sorted(self._files) if job not in self.live)]

    @property
    def live(self) -> frozenset[str]:
        """The jobs that have a container."""
        return frozenset(self._containers)

    async def copy(
        self, job_id: str, write: Callable[[bytes], None], *, follow: bool, tail: int | None
    ) -> None:
        """Give the log of a job to ``write``, as :meth:`Observer.copy_output`."""
        container = self._containers.get(job_id)
        if container is not None:
            await self._place.observer.copy_output(container, write, follow=follow, tail=tail)
            return
        with self._files[job_id].open("rb") as file:
            for chunk in last_lines(file, tail):
                write(chunk)


def last_lines(file: BinaryIO, count: int | None) -> Iterator[bytes]:
    """The last lines of an open file, in pieces; ``None``: all of it."""
    if count is not None:
        file.seek(start_of_last_lines(file, count))
    while chunk := file.read(CHUNK):
        yield chunk
