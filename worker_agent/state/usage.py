"""What is known about the use of the machine by each job (agent.md 13.3)."""

from pathlib import Path

import structlog
from pydantic import ValidationError

from rap.egress import Metrics
from rap.errors import JobFault
from rap.models import Model
from worker_agent.engine.facts import UsageReading
from worker_agent.usage_series import MOST_BYTES, UsagePoint, line, parse, thinned
from worker_agent.workspace.copying import write_file

log = structlog.get_logger()

MEBIBYTE = 1024 * 1024
SAMPLES_FILE = "metrics.jsonl"


class Usage(Model):
    """What is known about a container's use of the machine up to one reading."""

    container_id: str
    at: float
    cpu_total_ns: int
    metrics: Metrics
    point: UsagePoint | None = None
    """The latest sample, as charts show it."""


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
        point=UsagePoint.of_sample(reading.at, seconds=duration, cpu=cpu, memory_mb=memory),
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
    """What is known about each job, kept over restarts of the agent: two small files a job.

    ``<job id>.json`` holds the figures, ``<job id>.jsonl`` the samples that they come from.
    """

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
        """Replace what is known about a job, and add its latest sample to the others."""
        before = self.read(job_id)
        if before is None or before.container_id != usage.container_id:
            self._samples(job_id).unlink(missing_ok=True)
        if usage.point is not None and (before is None or before.point != usage.point):
            self._add(job_id, usage.point)
        self._replace(self._file(job_id), usage.model_dump_json())

    def conclude(self, job_id: str, container_id: str, folder: Path) -> Metrics | None:
        """Leave the samples of an ended container in a folder, and say what it used.

        Args:
            job_id: its job.
            container_id: the container; what is known about another is not its.
            folder: gets ``metrics.jsonl``, for charts; it is empty where nothing was measured. It
                is no part of the results: a failure is logged, and harms nothing.
        """
        usage = self.read(job_id)
        if usage is not None and usage.container_id != container_id:
            usage = None
        try:
            content = self._samples(job_id).read_bytes() if usage is not None else b""
            write_file(folder / SAMPLES_FILE, content)
        except (OSError, JobFault) as error:
            log.warning("the samples of a job could not be filed", id=job_id, exc_info=error)
        return usage.metrics if usage is not None else None

    def forget(self, job_id: str) -> None:
        """The job is over."""
        self._file(job_id).unlink(missing_ok=True)
        self._samples(job_id).unlink(missing_ok=True)

    def _add(self, job_id: str, point: UsagePoint) -> None:
        path = self._samples(job_id)
        with path.open("a") as file:
            file.write(line(point))
            size = file.tell()
        if size > MOST_BYTES:
            self._replace(path, thinned(parse(path.read_text())))

    def _replace(self, path: Path, content: str) -> None:
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_text(content)
        temporary.replace(path)

    def _file(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.json"

    def _samples(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.jsonl"
