"""One thread at a time for each thing.

A thread cannot be stopped: when an activity is cancelled, the one that it waited for works on. What
comes next for the same job, another finalization or the clean-up, first lets it finish.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from weakref import WeakValueDictionary

_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
_guard = threading.Lock()


@contextmanager
def turn(thing: str) -> Iterator[None]:
    """Wait until no other thread of this process works on ``thing``, then keep others off it."""
    with _guard:
        lock = _locks.get(thing)
        if lock is None:
            lock = _locks[thing] = threading.Lock()
    with lock:
        yield


def turn_of_job(job_id: str) -> AbstractContextManager[None]:
    """The turn for the volume and the records of a job."""
    return turn(f"job {job_id}")
