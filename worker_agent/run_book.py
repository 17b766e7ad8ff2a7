"""What was seen of a program while it ran and cannot be asked for afterwards.

Kept over restarts of the agent, one small file a job: the kernel forgets its counters with the
container, and the engine does not know why a container was killed.
"""

from pathlib import Path

import structlog
from pydantic import ValidationError

from rap.models import Model

log = structlog.get_logger()


class RunRecord(Model):
    """What was seen of one container."""

    container_id: str
    oom_kills: int = 0
    memory_peak_bytes: int | None = None
    run_time_limit_s: float | None = None
    """The agent was about to stop the container because it ran longer than this."""


class RunBook:
    """The records of the jobs of one agent host.

    Args:
        folder: survives restarts; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def read(self, job_id: str, container_id: str) -> RunRecord:
        """What was seen of that very container; nothing if there is no file that can be read."""
        try:
            found = RunRecord.model_validate_json(self._file(job_id).read_bytes())
        except FileNotFoundError:
            return RunRecord(container_id=container_id)
        except ValidationError:
            log.warning("what was seen of a job's run is lost: damaged file", id=job_id)
            return RunRecord(container_id=container_id)
        return found if found.container_id == container_id else RunRecord(container_id=container_id)

    def write(self, job_id: str, record: RunRecord) -> None:
        """Replace what is known about a job's run."""
        temporary = self._file(job_id).with_suffix(".tmp")
        temporary.write_text(record.model_dump_json())
        temporary.replace(self._file(job_id))

    def forget(self, job_id: str) -> None:
        """The job is over."""
        self._file(job_id).unlink(missing_ok=True)

    def _file(self, job_id: str) -> Path:
        return self._folder / f"{job_id}.json"
