"""How much of the machine each running job uses (agent.md 13)."""

import asyncio
from pathlib import Path

import structlog
from pydantic import ValidationError

from rap.egress import Metrics
from rap.errors import JobFault
from rap.models import Model
from worker_agent.engine.docker import Engine
from worker_agent.engine.facts import ContainerFacts, UsageReading
from worker_agent.jobs import Job, Jobs

log = structlog.get_logger()

MEBIBYTE = 1024 * 1024


class Usage(Model):
    """What is known about a container's use of the machine up to one reading."""

    container_id: str
    at: float
    cpu_total_ns: int
    metrics: Metrics


def aggregate(
    before: Usage | None, reading: UsageReading, *, container_id: str, started_at: float
) -> Usage | None:
    """Add a reading to what is known (agent.md 13.3).

    Each reading stands for the time since the one before it, whoever took that: so the figures stay
    right when readings are missed. Readings of another container count for nothing.

    Returns:
        What is known now; as before if no time has passed.
    """
    if before is not None and before.container_id != container_id:
        before = None
    since = before.at if before else started_at
    duration, runtime = reading.at - since, reading.at - started_at
    if duration <= 0 or runtime <= 0:
        return before
    old = before.metrics if before else Metrics()
    used_ns = reading.cpu_total_ns - (before.cpu_total_ns if before else 0)
    cpu = max(0.0, 100 * used_ns / 1e9 / duration)
    memory = reading.memory_bytes / MEBIBYTE
    cpu_cumsum = old.cpu_cumsum + duration * cpu
    memory_cumsum = old.mem_mb_cumsum + duration * memory
    return Usage(
        container_id=container_id,
        at=reading.at,
        cpu_total_ns=reading.cpu_total_ns,
        metrics=Metrics(
            cpu_sample=cpu,
            cpu_peak=max(old.cpu_peak, cpu),
            cpu_mean=cpu_cumsum / runtime,
            cpu_cumsum=cpu_cumsum,
            mem_mb_sample=memory,
            mem_mb_peak=max(old.mem_mb_peak, memory),
            mem_mb_mean=memory_cumsum / runtime,
            mem_mb_cumsum=memory_cumsum,
        ),
    )


class UsageBook:
    """What is known about each job, kept over restarts of the agent: one small file a job."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def read(self, job_id: str) -> Usage | None:
        """What is known about a job; nothing if there is no file, or none that can be read."""
        try:
            return Usage.model_validate_json(self._file(job_id).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            log.warning("the metrics of a job start afresh: their file is damaged", id=job_id)
            return None

    def write(self, job_id: str, usage: Usage) -> None:
        """Replace what is known about a job."""
        temporary = self._file(job_id).with_suffix(".tmp")
        temporary.write_text(usage.model_dump_json())
        temporary.replace(self._file(job_id))

    def forget(self, job_id: str) -> None:
        """The job is over."""
        self._file(job_id).unlink(missing_ok=True)

    def _file(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.json"


class Sampler:
    """Reads the use of every running job once an interval, for as long as the agent lives."""

    def __init__(self, engine: Engine, jobs: Jobs, book: UsageBook, interval: float) -> None:
        self._engine = engine
        self._jobs = jobs
        self._book = book
        self._interval = interval
        self._told = False

    async def run(self) -> None:
        """Sample until cancelled. A failure costs one sample of one job, never more."""
        while True:
            await asyncio.sleep(self._interval)
            await self.sample()

    async def sample(self) -> None:
        """Read every running job once."""
        running = [
            (job, job.container) for job in self._jobs.reported() if job.container is not None
        ]
        results = await asyncio.gather(
            *(self._sample(job, container) for job, container in running), return_exceptions=True
        )
        for (job, _), result in zip(running, results, strict=True):
            if isinstance(result, (JobFault, OSError)):
                log.warning("the use of a job could not be measured", id=job.definition.id)
            elif isinstance(result, Exception):
                log.error("measuring a job failed", id=job.definition.id, exc_info=result)

    async def _sample(self, job: Job, container: ContainerFacts) -> None:
        reading = await self._engine.usage(container.id)
        if container.started_at_ns is None or job.container is not container:
            return
        if reading is None:
            if not self._told:
                log.warning(
                    "Docker gives no figures about a running container", id=job.definition.id
                )
            self._told = True
            return
        usage = aggregate(
            self._book.read(job.definition.id),
            reading,
            container_id=container.id,
            started_at=container.started_at_ns / 1e9,
        )
        if usage is not None:
            self._book.write(job.definition.id, usage)
            job.metrics = usage.metrics
