"""The jobs whose containers run on this host, and what they use of it."""

import asyncio
import time

from rap.models import Model
from worker_agent.engine.facts import ContainerFacts, UsageReading
from worker_agent.operations.place import Place
from worker_agent.state.usage import MEBIBYTE

FIRST_INTERVAL_S = 1.0
"""Between the two readings that a first figure for the processor needs."""


class RunningJob(Model):
    """One running container of a job. Never leaves the host."""

    job_id: str
    task_id: str
    workspace: str
    action: str
    container: str
    started_at: float | None
    """Seconds since the epoch, by the engine's clock."""
    cpu_percent: float | None = None
    """Of one core."""
    memory_mb: float | None = None
    """MiB, without the page cache."""
    memory_limit_mb: float | None = None
    last_output_at: float | None = None
    """When the program last wrote a line; ``None``: never yet."""
    last_output: str | None = None


class Watch:
    """Looks at the running jobs again and again, and measures the time since the look before."""

    def __init__(self, place: Place, *, with_text: bool = False) -> None:
        self._place = place
        self._with_text = with_text
        self._before: dict[str, UsageReading] = {}

    async def look(self) -> tuple[RunningJob, ...]:
        """The jobs that run now, oldest first."""
        running = await self._place.running()
        fresh = [facts.id for facts in running.values() if facts.id not in self._before]
        if fresh:
            self._before |= await self._readings(fresh)
            await asyncio.sleep(FIRST_INTERVAL_S)
        now = await self._readings([facts.id for facts in running.values()])
        jobs = await asyncio.gather(
            *(self._job(job_id, facts, now.get(facts.id)) for job_id, facts in running.items())
        )
        self._before = now
        return tuple(jobs)

    async def _readings(self, containers: list[str]) -> dict[str, UsageReading]:
        """What each container has used so far; those that have ended are left out."""
        found = await asyncio.gather(
            *(self._place.engine.containers.usage(each) for each in containers)
        )
        return {each: reading for each, reading in zip(containers, found, strict=True) if reading}

    async def _job(
        self, job_id: str, facts: ContainerFacts, reading: UsageReading | None
    ) -> RunningJob:
        last = await self._place.observer.last_line(facts.id)
        limit = facts.memory_limit_bytes
        return RunningJob(
            job_id=job_id,
            task_id=facts.task_id,
            workspace=facts.image_labels.get("workspace", ""),
            action=facts.image_labels.get("action", ""),
            container=facts.name,
            started_at=facts.started_at_ns / 1e9 if facts.started_at_ns else None,
            cpu_percent=cpu_percent(self._before.get(facts.id), reading),
            memory_mb=reading.memory_bytes / MEBIBYTE if reading else None,
            memory_limit_mb=limit / MEBIBYTE if limit else None,
            last_output_at=last.at if last else None,
            last_output=last.text if last and self._with_text else None,
        )


def cpu_percent(before: UsageReading | None, after: UsageReading | None) -> float | None:
    """The use of the processor between two readings, percent of one core."""
    if before is None or after is None or after.at <= before.at:
        return None
    used = after.cpu_total_ns - before.cpu_total_ns
    return max(0.0, 100 * used / 1e9 / (after.at - before.at))


def age(since: float | None) -> float | None:
    """Seconds since a moment, by this host's clock; never negative."""
    return None if since is None else max(0.0, time.time() - since)
