"""Where everything of a backend lies on its disk (docs/spec/agent.md 10.1).

::

    <high privacy>/workspaces/<workspace>/           all outputs, and metadata/<action>.log
    <high privacy>/logs/<YYYY-MM>/os-job-<job id>/   logs.txt and metadata.json of the last attempt,
                                                     of those before logs.001.txt and so on
    <high privacy>/volumes/<job id>/                 what a running job sees as /workspace; from its
                                                     second attempt on <job id>-002 and so on
    <high privacy>/archives/<workspace>.tar.*        workspaces put away
    <medium privacy>/workspaces/<workspace>/         level 4: what output checkers read
    <high privacy>/.storage-id                       tells this storage from any other
    <work directory>/state/                          locks, and what outlives a restart of the agent

Paths are only computed here; whoever writes makes the directory. Names of workspaces and jobs come
from outside the backend, so each is checked before it becomes part of a path.
"""

from datetime import UTC, datetime
from pathlib import Path

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.ids import container_name, job_of_container
from rap.models import JobDefinition
from rap.settings import AgentSettings
from worker_agent.workspace.safe_paths import UnsafeName, parts_of

ARCHIVE_SUFFIXES = (".tar.gz", ".tar.zstd", ".tar.xz")
METADATA_FILE = "metadata.json"
LOG_FILE = "logs.txt"
SAMPLES_FILE = "metrics.jsonl"
STAGING = ".incoming"
"""Beside the workspaces, so that a finished file is moved into one without being copied again."""


def folders(settings: AgentSettings) -> dict[str, Path]:
    """The agent's folders by the variable that names them."""
    return {
        "WORKDIR": settings.workdir,
        "HIGH_PRIVACY_STORAGE_BASE": settings.high_privacy,
        "HIGH_PRIVACY_VOLUME_DIR": settings.volume_dir,
        "MEDIUM_PRIVACY_STORAGE_BASE": settings.medium_privacy,
    }


class Storage:
    """The folders of one backend host."""

    def __init__(self, settings: AgentSettings) -> None:
        self._settings = settings
        self.high_workspaces = settings.high_privacy / "workspaces"
        self.medium_workspaces = settings.medium_privacy / "workspaces"
        self.logs = settings.high_privacy / "logs"

    @property
    def state_dir(self) -> Path:
        """Of the agent; made when it is missing."""
        path = self._settings.workdir / "state"
        path.mkdir(parents=True, exist_ok=True)
        return path

    def volume(self, name: str) -> Path:
        """The directory that an attempt works in, by its name, as the agent sees it."""
        return self._settings.volume_dir / component("job id", name)

    def unfinished(self, name: str) -> Path:
        """Where a volume is put together before it gets its name; never that of an attempt."""
        return self._settings.volume_dir / f".{component('job id', name)}.preparing"

    def mount_source(self, name: str) -> Path:
        """The same directory as the container engine's host sees it (docs/spec/agent.md 7.3)."""
        volumes = self._settings.docker_host_volume_dir or self._settings.volume_dir
        return volumes / component("job id", name)

    def high(self, workspace: str) -> Path:
        """A workspace in the high privacy area."""
        return self.high_workspaces / component("workspace", workspace)

    def medium(self, workspace: str) -> Path:
        """A workspace in the medium privacy area."""
        return self.medium_workspaces / component("workspace", workspace)

    def staging(self, name: str) -> tuple[Path, Path]:
        """Where the outputs of an attempt are put together: for the high and the medium area."""
        job = component("job id", name)
        return self.high_workspaces / STAGING / job, self.medium_workspaces / STAGING / job

    def log_dir(self, definition: JobDefinition) -> Path:
        """The folder of a job's log and metadata, in the month (UTC) of the job's creation."""
        component("job id", definition.id)
        month = datetime.fromtimestamp(definition.created_at, UTC).strftime("%Y-%m")
        return self.logs / month / container_name(definition.id)

    def newest_of_jobs(self, name: str) -> dict[str, Path]:
        """The files of this name in the folders of jobs' logs, by job: each job's newest month."""
        return {
            job_id: path
            for path in sorted(self.logs.glob(f"*/*/{name}"))
            if (job_id := job_of_container(path.parent.name))
        }

    def find_metadata(self, job_id: str) -> Path | None:
        """The metadata file of a job; PermanentFault for several (docs/spec/agent.md 4.3)."""
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
        """Whether a workspace has an archive and no directory (docs/spec/agent.md 7.1)."""
        if self.high(workspace).exists():
            return False
        archives = self._settings.archive_dir
        return any((archives / f"{workspace}{suffix}").is_file() for suffix in ARCHIVE_SUFFIXES)


def component(what: str, name: str) -> str:
    """A name from outside, once it is known to be safe as one component of a path.

    A PermanentFault if it could lead elsewhere, or hide among the agent's own files.
    """
    try:
        parts = parts_of(name)
    except UnsafeName as error:
        raise PermanentFault(Fault.UNEXPECTED, f"the {what} {name!r} {error}") from None
    if len(parts) != 1 or len(name) > 200 or name.startswith(".") or not name.isprintable():
        raise PermanentFault(Fault.UNEXPECTED, f"the {what} {name!r} cannot be a file name")
    return name
