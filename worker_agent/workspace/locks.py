"""One thread at a time for each thing.

A thread cannot be stopped: when an activity is cancelled, the one that it waited for works on. What
comes next for the same job, another finalization or the clean-up, first lets it finish.
"""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO
from weakref import WeakValueDictionary

from worker_agent.workspace.storage import Storage

_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_guard = threading.Lock()


@contextmanager
def job_lock(job_id: str) -> Iterator[None]:
    """Wait until no other thread of this process works on a job's volume or records; hold it."""
    with _guard:
        held = _locks.setdefault(job_id, threading.Lock())
    with held:
        yield


class Turn:
    """The time during which one thread may change a workspace."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def moment(self) -> int:
        """The time, nanoseconds since the epoch, but later than any other asked for like this of
        the same workspace: also after a clock was set back.
        """
        self._file.seek(0)
        before = self._file.read()
        now = max(time.time_ns(), int(before) + 1 if before.isdigit() else 0)
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(now).encode())
        self._file.flush()
        return now


@contextmanager
def workspace_lock(storage: Storage, workspace: str) -> Iterator[Turn]:
    """Hold the only right to change a workspace's files, records and manifest.

    In any process of any host that shares the storage. Blocks the thread, also for another one of
    this process, which opens the file for itself; never held while anything is copied.
    """
    digest = hashlib.sha256(os.fsencode(workspace)).hexdigest()[:32]
    storage.locks.mkdir(parents=True, exist_ok=True)
    path = storage.locks / f"workspace-{digest}.lock"
    path.touch()
    with path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
        yield Turn(file)
