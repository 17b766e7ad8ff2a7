"""The state of attempts that outlives the agent: small files, for its next process to find.

::

    state/jobs/<attempt>.json      an attempt has a volume here, and when its stages began
    state/stopped/<key>            an order came to stop this attempt
    state/killed/<key>             an administrator of this host wants it stopped
    state/tokens/<key>             the Temporal task token of a running attempt (secret)

The key is the task id; for a definition that names none, the job id.
Everything else about a job is read from what is really there: its container, its volume's marker
and its metadata (docs/spec/agent.md 4.2).
"""

import time
from pathlib import Path

from rap.ids import attempt_of
from rap.models import JobDefinition, Model
from worker_agent.atomic_files import write_file
from worker_agent.workspace.storage import component

KEEP_STOPPED = 7 * 24 * 3600.0
"""Seconds after which an order about an attempt that never came is forgotten."""


def key_of(job_id: str, task_id: str) -> str:
    """What the state of an attempt is kept under."""
    return task_id or job_id


class Owner(Model):
    """An attempt that has a volume on this host."""

    task_id: str
    preparing_at: float
    prepared_at: float | None = None
    """Seconds since the epoch, as above; ``None``: the volume is not known to be complete."""


class AttemptState:
    """The state of the attempts of one agent host, in a directory that survives restarts."""

    def __init__(self, root: Path) -> None:
        self._jobs = root / "jobs"
        self._stopped = root / "stopped"
        self._killed = root / "killed"
        self._tokens = root / "tokens"
        for folder in (self._jobs, self._stopped, self._killed, self._tokens):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def owner(self, name: str) -> Owner | None:
        """What is known of the attempt of this name; ``None`` if it has no volume here."""
        try:
            return Owner.model_validate_json(self._owner_file(name).read_bytes())
        except FileNotFoundError:
            return None

    def take(self, definition: JobDefinition) -> Owner:
        """An attempt begins to use its volume; the first time is kept."""
        owner = self.owner(definition.attempt_name)
        if owner is None or owner.task_id != definition.task_id:
            owner = Owner(task_id=definition.task_id, preparing_at=time.time())
            _write(self._owner_file(definition.attempt_name), owner.model_dump_json().encode())
        return owner

    def prepared(self, definition: JobDefinition) -> None:
        """The volume of an attempt that took it is complete; the first time is kept."""
        owner = self.take(definition)
        if owner.prepared_at is None:
            owner = owner.model_copy(update={"prepared_at": time.time()})
            _write(self._owner_file(definition.attempt_name), owner.model_dump_json().encode())

    def leave(self, name: str) -> None:
        """The volume of an attempt is gone."""
        self._owner_file(name).unlink(missing_ok=True)

    def earlier(self, definition: JobDefinition) -> list[str]:
        """The names of the attempts before this one at the same job that left a volume here."""
        job_id = definition.id
        numbers = {job_id: 1} | {
            path.stem: attempt_of(path.stem) for path in self._jobs.glob(f"{job_id}-*.json")
        }
        ours = attempt_of(definition.task_id)
        return [name for name, number in numbers.items() if number < ours and self.owner(name)]

    def mark_stopped(self, key: str) -> None:
        """An attempt is to be stopped, also after a restart."""
        _write(self._stopped / component("task id", key), b"")

    def mark_killed(self, key: str) -> None:
        """An administrator of this host stops an attempt; to be called before it is killed.

        A file of its own, since an order of the controller may come as well, and neither may hide
        the other.
        """
        _write(self._killed / component("task id", key), b"")

    def is_killed(self, key: str) -> bool:
        """Whether an administrator of this host stopped this attempt."""
        return (self._killed / component("task id", key)).exists()

    def is_stopped(self, key: str) -> bool:
        """Whether this attempt is to be stopped, whoever wants it."""
        return (self._stopped / component("task id", key)).exists() or self.is_killed(key)

    def forget_stopped(self, key: str) -> None:
        """The stopped attempt has been recorded: the orders have done their work."""
        for folder in (self._stopped, self._killed):
            (folder / component("task id", key)).unlink(missing_ok=True)

    def forget_old_stopped(self, now: float) -> None:
        """Forget orders about attempts that never came."""
        for folder in (self._stopped, self._killed):
            for path in folder.iterdir():
                if now - path.stat().st_mtime > KEEP_STOPPED:
                    path.unlink(missing_ok=True)

    def keep_token(self, key: str, token: bytes) -> None:
        """Keep the task token of a running attempt; only this user can read it."""
        _write(self._tokens / component("task id", key), token)

    def drop_token(self, key: str) -> None:
        """The attempt has given its own answer."""
        (self._tokens / component("task id", key)).unlink(missing_ok=True)

    def left_over_tokens(self) -> dict[str, bytes]:
        """Key to token, of attempts whose agent died."""
        return {
            path.name: path.read_bytes()
            for path in sorted(self._tokens.iterdir())
            if not path.name.startswith(".")
        }

    def _owner_file(self, name: str) -> Path:
        return self._jobs / f"{component('job id', name)}.json"


def _write(path: Path, content: bytes) -> None:
    write_file(path, content, durable=False, mode=0o600)
