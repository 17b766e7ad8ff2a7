"""The host as an operator's command finds it: settings, folders and engine of the agent.

Commands that only look leave no trace. Those that write state for the agent must run as its user,
or the agent could not read them.
"""

import fcntl
import os
import pwd
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from rap.errors import ConfigurationError
from rap.ids import attempt_name, container_name
from rap.settings import AgentSettings
from worker_agent.agent_lock import LOCK_FILE
from worker_agent.engine.connections import Connections
from worker_agent.engine.docker import Engine, docker_engine
from worker_agent.engine.facts import ContainerFacts
from worker_agent.engine.observer import Observer
from worker_agent.engine.stdin import StdinContainers
from worker_agent.state.attempts import AttemptState
from worker_agent.workspace.storage import Storage


@dataclass(frozen=True, slots=True)
class Place:
    """One agent host, seen from beside its agent."""

    settings: AgentSettings
    storage: Storage
    engine: Engine
    observer: Observer
    stdin: StdinContainers

    @classmethod
    def of(cls, settings: AgentSettings) -> "Place":
        """The host that the settings describe; nothing is touched."""
        connections = Connections(max_jobs=4, pull_limit=settings.image_pull_timeout)
        return cls(
            settings=settings,
            storage=Storage(settings),
            engine=docker_engine(connections),
            observer=Observer(connections),
            stdin=StdinContainers(connections),
        )

    def owns(self, job_id: str, container: ContainerFacts) -> bool:
        """Whether a container works in this host's volumes; others may share the engine."""
        source = str(self.storage.mount_source(attempt_name(job_id, container.task_id)))
        mounts = container.inspection.get("Mounts") or ()
        return any(mount.get("Source") == source for mount in mounts)

    async def running(self) -> dict[str, ContainerFacts]:
        """The running containers of this host's jobs, oldest first."""
        ours: dict[str, ContainerFacts] = {}
        for job_id in await self.engine.containers.job_ids():
            container = await self.engine.containers.inspect(job_id)
            if container is not None and container.running and self.owns(job_id, container):
                ours[job_id] = container
        return dict(sorted(ours.items(), key=lambda item: (item[1].started_at_ns or 0, item[0])))

    def attempts(self) -> AttemptState:
        """The state of the agent's attempts, to be written to; as :func:`check_user`."""
        check_user("WORKDIR", self.settings.workdir)
        return AttemptState(self.storage.state_dir)

    @property
    def lock_file(self) -> Path:
        """Locked by the agent for as long as it runs."""
        return self.settings.workdir / "state" / LOCK_FILE

    def agent_runs(self) -> bool:
        """Whether an agent works with this work directory now."""
        try:
            with self.lock_file.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def waiting_agents(self) -> int:
        """How many more agents wait for the one that runs to end, by the kernel's list of locks."""
        try:
            inode = self.lock_file.stat().st_ino
            lines = Path("/proc/locks").read_text().splitlines()
        except OSError:
            return 0
        # ``1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:123 0 EOF``; the arrow means waiting.
        return sum("-> FLOCK" in line and f":{inode} " in line for line in lines)


def matching(part: str, job_ids: Collection[str]) -> list[str]:
    """The jobs whose container's name holds this text, in their order (docs/spec/agent.md 15.1).

    A full id, or the full name of a container, means that job alone, even where another id
    contains it.
    """
    exact = [job for job in job_ids if part in (job, container_name(job))]
    return exact or [job for job in job_ids if part in container_name(job)]


def check_user(variable: str, folder: Path) -> None:
    """Make sure that this process is the user whose folder this is, or ConfigurationError.

    Even root is refused: what it would write there, the agent could not read or replace.
    """
    try:
        owner = folder.stat().st_uid
    except OSError as error:
        raise ConfigurationError(
            f"{variable}: {folder} cannot be looked into ({error.strerror}). Run this where the "
            "agent runs, with its settings in the environment (in development: --data and the "
            "folder of `rap dev`)."
        ) from None
    ours = os.geteuid()
    if owner != ours:
        raise ConfigurationError(
            f"{variable}: {folder} belongs to {user(owner)}, and this is {user(ours)}. Run this "
            f"as the agent's user: sudo --preserve-env --user '#{owner}' rap agent …"
        )


def user(uid: int) -> str:
    """A user for people: name and number."""
    try:
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"
