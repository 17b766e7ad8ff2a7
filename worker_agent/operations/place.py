"""The host as an operator's command finds it: settings, folders and engine of the agent.

Commands that only look leave no trace. Those that leave notes for the agent must run as its user,
or the agent could not read them.
"""

import fcntl
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

from rap.errors import ConfigurationError
from rap.settings import AgentSettings
from worker_agent.engine.facts import ContainerFacts
from worker_agent.engine.observing import Observer
from worker_agent.notes import Notes
from worker_agent.workspace.storage import Storage

LOCK = "agent.lock"


@dataclass(frozen=True, slots=True)
class Place:
    """One agent host, seen from beside its agent."""

    settings: AgentSettings
    storage: Storage
    engine: Observer

    @classmethod
    def of(cls, settings: AgentSettings) -> "Place":
        """The host that the settings describe; nothing is touched."""
        return cls(settings=settings, storage=Storage(settings), engine=Observer(max_jobs=4))

    def owns(self, job_id: str, container: ContainerFacts) -> bool:
        """Whether a container works in this host's volumes; others may share the engine."""
        source = str(self.storage.mount_source(job_id))
        mounts = container.inspection.get("Mounts") or ()
        return any(mount.get("Source") == source for mount in mounts)

    async def running(self) -> dict[str, ContainerFacts]:
        """The running containers of this host's jobs, oldest first."""
        found = await self.engine.running_jobs()
        ours = {job: container for job, container in found.items() if self.owns(job, container)}
        return dict(sorted(ours.items(), key=lambda item: (item[1].started_at_ns or 0, item[0])))

    def notes(self) -> Notes:
        """The agent's notes, to be written to.

        Raises:
            ConfigurationError: there is no such agent, or it belongs to another user.
        """
        check_user("WORKDIR", self.settings.workdir)
        return Notes(self.storage.state_dir)

    @property
    def lock_file(self) -> Path:
        """Locked by the agent for as long as it runs."""
        return self.settings.workdir / "state" / LOCK

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
        """How many more agents wait for the one that runs to end, as the kernel tells."""
        try:
            inode = self.lock_file.stat().st_ino
            lines = Path("/proc/locks").read_text().splitlines()
        except OSError:
            return 0
        # ``1: -> FLOCK  ADVISORY  WRITE 4711 fe:00:123 0 EOF``; the arrow means waiting.
        return sum("-> FLOCK" in line and f":{inode} " in line for line in lines)


def check_user(variable: str, folder: Path) -> None:
    """Make sure that this process is the user whose folder this is.

    Even root is refused: what it would write there, the agent could not read or replace.

    Raises:
        ConfigurationError: naming the variable and the remedy.
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
