"""The agent's small notes beside a job, so that its successor knows what it knew.

::

    state/jobs/<job id>.json       which attempt uses the job's volume, and since when
    state/stopped/<key>            an order came to stop this attempt
    state/killed/<key>             an administrator of this host wants it stopped
    state/tokens/<key>             the Temporal task token of a running attempt (secret)

The key is the task id; for a definition that names none, the job id.
Everything else about a job is read from what is really there: its container, its volume's marker
and its metadata (agent.md 4.2).
"""

import os
import time
from pathlib import Path
from secrets import token_hex

from rap.models import JobDefinition, Model
from worker_agent.workspace.storage import component

KEEP_STOPPED = 7 * 24 * 3600.0
"""Seconds after which a note about an attempt that never came is thrown away."""


def key_of(job_id: str, task_id: str) -> str:
    """What notes about an attempt are filed under."""
    return task_id or job_id


class Owner(Model):
    """The attempt that a job's volume belongs to."""

    task_id: str
    preparing_at: float


class Notes:
    """The notes of one agent host.

    Args:
        root: a directory that survives restarts.
    """

    def __init__(self, root: Path) -> None:
        self._jobs = root / "jobs"
        self._stopped = root / "stopped"
        self._killed = root / "killed"
        self._tokens = root / "tokens"
        for folder in (self._jobs, self._stopped, self._killed, self._tokens):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def owner(self, job_id: str) -> Owner | None:
        """Who uses the volume of a job; ``None`` if nobody does."""
        try:
            return Owner.model_validate_json(self._owner_file(job_id).read_bytes())
        except FileNotFoundError:
            return None

    def take(self, definition: JobDefinition) -> Owner:
        """Note that an attempt begins to use its job's volume; the first time is kept."""
        owner = self.owner(definition.id)
        if owner is None or owner.task_id != definition.task_id:
            owner = Owner(task_id=definition.task_id, preparing_at=time.time())
            _write(self._owner_file(definition.id), owner.model_dump_json().encode())
        return owner

    def leave(self, job_id: str) -> None:
        """Note that the volume of a job is gone."""
        self._owner_file(job_id).unlink(missing_ok=True)

    def mark_stopped(self, key: str) -> None:
        """Note durably that an attempt is to be stopped."""
        _write(self._stopped / component("task id", key), b"")

    def mark_killed(self, key: str) -> None:
        """Note durably that an administrator of this host stops an attempt, before it is killed.

        A note of its own, since an order of the controller may come as well, and neither may hide
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
        """The stopped attempt has been recorded: the notes have done their work."""
        for folder in (self._stopped, self._killed):
            (folder / component("task id", key)).unlink(missing_ok=True)

    def forget_old_stopped(self, now: float) -> None:
        """Throw away notes about attempts that never came."""
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

    def _owner_file(self, job_id: str) -> Path:
        return self._jobs / f"{component('job id', job_id)}.json"


def _write(path: Path, content: bytes) -> None:
    """Replace a file atomically; mode 600."""
    temporary = path.with_name(f".{path.name}.{token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
