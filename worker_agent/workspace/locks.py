"""One thread at a time for each thing.

A thread cannot be stopped: when an activity is cancelled, the one that it waited for works on. What
comes next for the same job, another finalization or the clean-up, first lets it finish.
"""

import fcntl
import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def workspace_lock(storage: Storage, workspace: str) -> Iterator[None]:
    """Hold the only right to change a workspace's files and manifest, in any process of the host.

    Blocks the thread, also for another one of this process, which opens the file for itself; never
    held while anything is copied.
    """
    digest = hashlib.sha256(os.fsencode(storage.medium(workspace))).hexdigest()[:32]
    folder = storage.state_dir / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"workspace-{digest}.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
        yield
