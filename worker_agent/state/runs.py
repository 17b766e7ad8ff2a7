"""What is known of a program that was started, and cannot be asked for afterwards.

Kept over restarts of the agent, one small file an attempt: the kernel forgets its counters with the
container, the engine does not know why a container was killed, and nobody tells that the host or
the engine was started again while the program ran.
"""

from pathlib import Path

import structlog
from pydantic import ValidationError

from rap.egress import Fault
from rap.models import Model
from worker_agent.atomic_files import write_file
from worker_agent.engine.facts import EngineRun

log = structlog.get_logger()


class Ground(Model):
    """What a program runs on: when one of these is another one, the program was taken away."""

    boot_id: str
    """Of the host, new at each start."""
    engine: EngineRun
    volume: str | None = None
    """Which folder the job's volume is; ``None``: there is none."""


class RunRecord(Model):
    """What is known of one container."""

    container_id: str
    ground: Ground | None = None
    """What the program runs on, noted before it starts."""
    ended_by_itself: bool = False
    """The end was seen, and nothing had taken the program away until then."""
    disk_fault: Fault | None = None
    """It failed on a disk in this trouble; its volume has made room."""
    oom_kills: int = 0
    memory_peak_bytes: int | None = None
    run_time_limit_s: float | None = None
    """The agent was about to stop the container because it ran longer than this."""


class RunState:
    """The records of one agent host, in a folder that survives restarts; by the attempts' keys."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def latest(self, key: str) -> RunRecord | None:
        """What is known of the latest container of an attempt; ``None``: it never had one.

        A file that cannot be read counts as none.
        """
        try:
            return RunRecord.model_validate_json(self._file(key).read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError:
            log.warning("what was seen of a job's run is lost: damaged file", task=key)
            return None

    def read(self, key: str, container_id: str) -> RunRecord:
        """What is known of that very container, perhaps nothing."""
        found = self.latest(key)
        if found is None or found.container_id != container_id:
            return RunRecord(container_id=container_id)
        return found

    def write(self, key: str, record: RunRecord, *, durable: bool = False) -> None:
        """Replace what is known; ``durable`` also for after a loss of power."""
        write_file(self._file(key), record.model_dump_json().encode(), durable=durable)

    def forget(self, key: str) -> None:
        """The attempt is over, or its container never ran."""
        self._file(key).unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"
