"""Where everything of a backend lies on its disk (agent.md 10.1).

::

    <high privacy>/workspaces/<workspace>/           all outputs, and metadata/<action>.log
    <high privacy>/logs/<YYYY-MM>/os-job-<job id>/   logs.txt and metadata.json
    <high privacy>/volumes/<job id>/                 what a running job sees as /workspace
    <high privacy>/archives/<workspace>.tar.*        workspaces put away
    <medium privacy>/workspaces/<workspace>/         level 4: what output checkers read
    <work directory>/state/                          locks, and other notes of the agent to itself

Paths are only computed here; whoever writes makes the directory. Names of workspaces, jobs and
actions come from outside the backend, so each is checked before it becomes part of a path.
"""

from datetime import UTC, datetime
from pathlib import Path

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.ids import container_name
from rap.models import JobDefinition
from rap.settings import AgentSettings
from worker_agent.workspace.beneath import UnsafeName, parts_of

ARCHIVE_SUFFIXES = (".tar.gz", ".tar.zstd", ".tar.xz")
METADATA_FILE = "metadata.json"
LOG_FILE = "logs.txt"
STAGING = ".incoming"
"""Beside the workspaces, so that a finished file is moved into one without being copied again."""


class Storage:
    """The folders of one backend host."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings

    @property
    def high_workspaces(self) -> Path:
        """The workspaces of the high privacy area."""
        return self._settings.high_privacy / "workspaces"

    @property
    def medium_workspaces(self) -> Path:
        """The workspaces of the medium privacy area (level 4)."""
        return self._settings.medium_privacy / "workspaces"

    @property
    def logs(self) -> Path:
        """The month folders of the jobs' logs."""
        return self._settings.high_privacy / "logs"

    @property
    def state_dir(self) -> Path:
        """The agent's notes to itself; made when it is missing."""
        path = self._settings.workdir / "state"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def volume(self, job_id: str) -> Path:
        """The directory that a job works in, as the agent sees it."""
        return self._settings.volume_dir / component("job id", job_id)

    def unfinished(self, job_id: str) -> Path:
        """Where a volume is put together before it gets its name; never a job's id."""
        return self._settings.volume_dir / f".{component('job id', job_id)}.preparing"

    def mount_source(self, job_id: str) -> Path:
        """The same directory as the container engine's host sees it (agent.md 7.3)."""
        if self._settings.docker_host_volume_dir is None:
            return self.volume(job_id)
        return self._settings.docker_host_volume_dir / component("job id", job_id)

    def high(self, workspace: str) -> Path:
        """A workspace in the high privacy area."""
        return self.high_workspaces / component("workspace", workspace)

    def medium(self, workspace: str) -> Path:
        """A workspace in the medium privacy area."""
        return self.medium_workspaces / component("workspace", workspace)

    def staging(self, job_id: str) -> tuple[Path, Path]:
        """Where the outputs of a job are put together: for the high and the medium area."""
        job = component("job id", job_id)
        return self.high_workspaces / STAGING / job, self.medium_workspaces / STAGING / job

    def log_dir(self, definition: JobDefinition) -> Path:
        """The folder of a job's log and metadata, in the month (UTC) of the job's creation."""
        component("job id", definition.id)
        month = datetime.fromtimestamp(definition.created_at, UTC).strftime("%Y-%m")
        return self.logs / month / container_name(definition.id)

    def find_metadata(self, job_id: str) -> Path | None:
        """The metadata file of a job of any month, if there is one.

        Raises:
            PermanentFault: there are several (agent.md 4.3).
        """
        folder = container_name(component("job id", job_id))
        try:
            months = sorted(self.logs.iterdir())
        except FileNotFoundError:
            return None
        found = [path for month in months if (path := month / folder / METADATA_FILE).is_file()]
        if len(found) > 1:
            listed = ", ".join(str(path) for path in found)
            raise PermanentFault(Fault.UNEXPECTED, f"Expected at most one path, got: {listed}")
        return found[0] if found else None

    def archived(self, workspace: str) -> bool:
        """Whether a workspace was put away: it has an archive and no directory (agent.md 7.1)."""
        if self.high(workspace).exists():
            return False
        archives = self._settings.archive_dir
        return any((archives / f"{workspace}{suffix}").is_file() for suffix in ARCHIVE_SUFFIXES)


def component(what: str, name: str) -> str:
    """A name from outside, once it is known to be safe as one component of a path.

    Raises:
        PermanentFault: it could lead elsewhere, or hide among the agent's own files.
    """
    try:
        parts = parts_of(name)
    except UnsafeName as error:
        raise PermanentFault(Fault.UNEXPECTED, f"the {what} {name!r} {error}") from None
    if len(parts) != 1 or len(name) > 200 or name.startswith(".") or not name.isprintable():
        raise PermanentFault(Fault.UNEXPECTED, f"the {what} {name!r} cannot be a file name")
    return name
