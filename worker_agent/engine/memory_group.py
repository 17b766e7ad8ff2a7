"""What the kernel counts about a container's memory: its cgroup, of version 1 or 2.

The counters go away with the container, so they are read while it runs. A bell rings when the
kernel has something to tell: in time, since a container takes a while to be taken down after the
kernel has killed its program.
"""

import os
import re
import select
from contextlib import suppress
from pathlib import Path

from rap.models import Model

_OOM_KILLS = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_LONGEST = 4096


class MemoryCount(Model):
    """The counters of a container, from its start to one moment."""

    oom_kills: int = 0
    """Processes that the kernel killed because the container was at its limit."""
    peak_bytes: int | None = None
    """The most that was used at once, with the page cache; ``None``: this kernel does not say."""


class MemoryGroup:
    """The memory cgroup of a running container; OSError if it is gone, or must not be read."""

    def __init__(self, folder: Path) -> None:
        self._unified = (folder / "memory.events").exists()
        events, peak = (
            ("memory.events", "memory.peak")
            if self._unified
            else ("memory.oom_control", "memory.max_usage_in_bytes")
        )
        self._events = os.open(folder / events, os.O_RDONLY | os.O_CLOEXEC)
        self._peak: int | None = None  # this kernel does not say
        with suppress(OSError):
            self._peak = os.open(folder / peak, os.O_RDONLY | os.O_CLOEXEC)
        self.bell = self._epoll() if self._unified else self._eventfd(folder)
        """A descriptor that becomes readable when there is news; ``None``: none to be had."""
        # Version 1 rings before the kernel kills, so that one has to look again and again; version
        # 2 rings afterwards, but also for much else.
        self.pauses = (0.01,) if self._unified else (0.002,) * 40
        """Seconds to wait before each of the looks that a ring deserves."""

    def read(self) -> MemoryCount | None:
        """The counters now; ``None`` if the container is gone."""
        try:
            text = os.pread(self._events, _LONGEST, 0).decode()
            peak = None if self._peak is None else os.pread(self._peak, _LONGEST, 0).decode()
        except OSError:
            return None
        kills = _OOM_KILLS.search(text)
        return MemoryCount(
            oom_kills=int(kills[1]) if kills else 0,
            peak_bytes=int(peak) if peak is not None else None,
        )

    def hush(self) -> None:
        """Let the bell ring again for what comes from now on."""
        if self.bell is not None and not self._unified:
            with suppress(BlockingIOError):  # it has not rung
                os.eventfd_read(self.bell)
        # A bell of version 2 is hushed by reading the counters.

    def close(self) -> None:
        """Let go of the descriptors."""
        for descriptor in (self.bell, self._peak, self._events):
            if descriptor is not None:
                os.close(descriptor)

    def _eventfd(self, folder: Path) -> int | None:
        bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        try:
            control = os.open(folder / "cgroup.event_control", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(control, f"{bell} {self._events}".encode())
            finally:
                os.close(control)
        except OSError:  # such as a tree that is mounted read-only
            os.close(bell)
            return None
        return bell

    def _epoll(self) -> int | None:
        poll = select.epoll()
        try:
            poll.register(self._events, select.EPOLLPRI)
            return os.dup(poll.fileno())
        except OSError:  # not a file of the kernel's
            return None
        finally:
            poll.close()


def find_memory_group(
    root: Path, container_id: str, pid: int | None, *, proc: Path = Path("/proc")
) -> MemoryGroup | None:
    """The memory cgroup of a container, if it can be seen from here.

    ``pid`` is that of its first process as the engine's host counts; the agent may count otherwise.
    """
    for folder in _places(root, container_id, pid, proc):
        try:
            return MemoryGroup(folder)
        except OSError:
            continue
    return None


def _places(root: Path, container_id: str, pid: int | None, proc: Path) -> list[Path]:
    paths = [f"docker/{container_id}", f"system.slice/docker-{container_id}.scope"]
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines() if pid else []
    except OSError:
        lines = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        # Without the id in its path it is another process that has this number here.
        if container_id in path and (not controllers or "memory" in controllers.split(",")):
            paths.insert(0, path.lstrip("/"))
    return [base / path for path in paths for base in (root / "memory", root)]
