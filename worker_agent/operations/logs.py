"""What a job wrote: from its container while there is one, else from the log that was filed."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from rap.ids import job_of_container
from worker_agent.operations.place import Place
from worker_agent.workspace.storage import LOG_FILE

_CHUNK = 1024 * 1024


class Sources:
    """Where the logs of this host's jobs are.

    Args:
        place: the host.
        containers: by job, those that there are, running or not.
        files: by job, the log filed last.
    """

    def __init__(self, place: Place, containers: dict[str, str], files: dict[str, Path]) -> None:
        self._place = place
        self._containers = containers
        self._files = files

    @classmethod
    async def of(cls, place: Place) -> "Sources":
        """Look for them.

        Raises:
            JobFault: Docker does not answer.
        """
        containers: dict[str, str] = {}
        for job_id in await place.engine.job_ids():
            facts = await place.engine.inspect(job_id)
            if facts is not None and facts.started and place.owns(job_id, facts):
                containers[job_id] = facts.id
        return cls(place, containers, await asyncio.to_thread(filed, place))

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
        """Give the log of a job to ``write``, piece by piece.

        Args:
            job_id: one of :attr:`job_ids`.
            write: may be called in another thread.
            follow: go on until the program ends; without effect on a log that is filed.
            tail: only so many last lines; ``None``: all.

        Raises:
            JobFault: Docker does not answer.
            OSError: the file cannot be read.
        """
        container = self._containers.get(job_id)
        if container is not None:
            await self._place.engine.copy_output(container, write, follow=follow, tail=tail)
            return
        with self._files[job_id].open("rb") as file:
            for chunk in last_lines(file, tail):
                write(chunk)


def filed(place: Place) -> dict[str, Path]:
    """The logs of finished jobs, by job; of one that has several the newest month."""
    found: dict[str, Path] = {}
    for path in sorted(place.storage.logs.glob(f"*/*/{LOG_FILE}")):
        job_id = job_of_container(path.parent.name)
        if job_id:
            found[job_id] = path
    return found


def last_lines(file: BinaryIO, count: int | None) -> Iterator[bytes]:
    """The last lines of an open file, in pieces; ``None``: all of it."""
    if count is not None:
        file.seek(_start(file, count))
    while chunk := file.read(_CHUNK):
        yield chunk


def _start(file: BinaryIO, count: int) -> int:
    """Where the last ``count`` lines begin; read from the end, for logs of gigabytes."""
    end = position = file.seek(0, 2)
    left = count
    while position > 0:
        size = min(_CHUNK, position)
        position -= size
        file.seek(position)
        chunk = file.read(size)
        newline = size
        while (newline := chunk.rfind(b"\n", 0, newline)) >= 0:
            if position + newline == end - 1:
                continue  # the one that ends the last line
            left -= 1
            if left == 0:
                return position + newline + 1
    return 0
