"""What is known about the use of the machine by each job (docs/spec/agent.md 13.3)."""

from pathlib import Path

import structlog
from pydantic import ValidationError

from rap.egress import Metrics
from rap.errors import JobFault
from rap.models import Model
from worker_agent.atomic_files import write_file
from worker_agent.engine.facts import UsageReading
from worker_agent.state.usage_series import MOST_BYTES, UsagePoint, line, parse, thinned
from worker_agent.workspace.storage import SAMPLES_FILE

log = structlog.get_logger()

MEBIBYTE = 1024 * 1024


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
    """Add a reading to what is known (docs/spec/agent.md 13.3).

    Each reading stands for the time since the one before it, whoever took that: so the figures stay
    right when readings are missed. Readings of another container count for nothing, and nothing
    changes when no time has passed.
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


class UsageState:
    """What is known about each attempt, kept over restarts of the agent: two small files each.

    ``<name>.json`` holds the figures, ``<name>.jsonl`` the samples that they come from.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def read(self, name: str) -> Usage | None:
        """What is known about a job; nothing if there is no file, or none that can be read."""
        try:
            return Usage.model_validate_json(self._file(name).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            log.warning("the metrics of a job start afresh: their file is damaged", id=name)
            return None

    def write(self, name: str, usage: Usage) -> None:
        """Replace what is known about a job, and add its latest sample to the others."""
        before = self.read(name)
        if before is None or before.container_id != usage.container_id:
            self._samples(name).unlink(missing_ok=True)
        if usage.point is not None and (before is None or before.point != usage.point):
            self._add(name, usage.point)
        write_file(self._file(name), usage.model_dump_json().encode(), durable=False)

    def conclude(self, name: str, container_id: str, folder: Path) -> Metrics | None:
        """Leave the samples of an ended container beside its log, in ``metrics.jsonl``; its use.

        The file is for charts, and empty where nothing was measured. It is no part of the results:
        a failure is logged, and harms nothing.
        """
        usage = self.read(name)
        if usage is not None and usage.container_id != container_id:
            usage = None
        try:
            content = self._samples(name).read_bytes() if usage is not None else b""
            write_file(folder / SAMPLES_FILE, content)
        except (OSError, JobFault) as error:
            log.warning("the samples of a job could not be kept", id=name, exc_info=error)
        return usage.metrics if usage is not None else None

    def forget(self, name: str) -> None:
        """The job is over."""
        self._file(name).unlink(missing_ok=True)
        self._samples(name).unlink(missing_ok=True)

    def _add(self, name: str, point: UsagePoint) -> None:
        path = self._samples(name)
        with path.open("a") as file:
            file.write(line(point))
            size = file.tell()
        if size > MOST_BYTES:
            write_file(path, thinned(parse(path.read_text())).encode(), durable=False)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def _samples(self, name: str) -> Path:
        return self._folder / f"{name}.jsonl"
