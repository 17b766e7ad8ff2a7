"""One agent process at a time on a host, and how the next one takes over.

The process that works holds the lock on ``state/agent.lock`` and has written there who it is. One
that starts later asks it to stop (SIGTERM, as a service manager would), once it is itself ready to
work, and waits for the lock: in between nobody polls, for the fraction of a second that the first
needs to give its jobs back. Where it cannot ask (the other lives in another container, or belongs
to another user) it waits until somebody stops it.
"""

import asyncio
import fcntl
import os
import signal
from pathlib import Path
from typing import IO, Self

import structlog
from pydantic import ValidationError

from rap.models import Model

log = structlog.get_logger()

LOCK_FILE = "agent.lock"
LOOK_AGAIN = 0.1
"""Seconds between two tries to get the lock."""


class Holder(Model):
    """The process that holds the lock: a process id alone may be used again by a stranger."""

    pid: int
    started: int
    """Clock ticks from the boot of the host to the start of the process."""
    namespace: int
    """Process ids mean something only to processes of the same namespace."""

    @classmethod
    def this(cls) -> Self:
        """The calling process."""
        pid = os.getpid()
        return cls(
            pid=pid, started=_started(pid), namespace=Path("/proc/self/ns/pid").stat().st_ino
        )


async def sole_use(folder: Path) -> IO[bytes]:
    """Take over the work directory from the process that uses it, until the file is closed."""
    file = (folder / LOCK_FILE).open("a+b")
    asked: set[Holder | None] = set()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(file)
            if holder not in asked:
                asked.add(holder)
                _ask(holder, folder)
            await asyncio.sleep(LOOK_AGAIN)
        else:
            file.truncate(0)
            file.write(Holder.this().model_dump_json().encode())
            file.flush()
            return file


def _read(file: IO[bytes]) -> Holder | None:
    file.seek(0)
    try:
        return Holder.model_validate_json(file.read())
    except ValidationError:
        return None


def _ask(holder: Holder | None, folder: Path) -> None:
    if holder is not None and _sent_sigterm(holder):
        log.info("asked the agent that runs here to hand its jobs over", predecessor=holder.pid)
    else:
        log.warning(f"another agent still uses {folder}: waiting for it to end")


def _sent_sigterm(holder: Holder) -> bool:
    if holder.namespace != Holder.this().namespace:
        return False
    try:
        process = os.pidfd_open(holder.pid)
    except OSError:
        return False
    try:
        # Looked at after it was opened: what is opened now cannot become another process.
        if _started(holder.pid) != holder.started:
            return False
        signal.pidfd_send_signal(process, signal.SIGTERM)
    except OSError:
        return False
    finally:
        os.close(process)
    return True


def _started(pid: int) -> int:
    # The name of the program, in brackets, may hold blanks.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19])
