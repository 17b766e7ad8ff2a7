"""The files that a job found in its volume and left as they were.

The contents of a file and its time are the program's to set, and so is the volume's marker. What no
program can set is when a file was last changed in any way, which the file system keeps. So the
agent notes, in its own state and when the volume is complete, the inode, the size and that time of
each file that a pattern of the job covers. A file that is the same in all three was not made by the
job; one that was touched, or written anew with equal contents, was.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from worker_agent.workspace import outputs, safe_paths


class FileState(NamedTuple):
    """A file at one moment."""

    inode: int
    size: int
    changed_ns: int
    """When its contents or anything else about it changed, nanoseconds since the epoch."""

    @classmethod
    def of(cls, info: os.stat_result) -> "FileState":
        """What the file system says."""
        return cls(info.st_ino, info.st_size, info.st_ctime_ns)


def laid_out(volume: int, patterns: Iterable[str]) -> dict[str, FileState]:
    """The files in an open volume that patterns cover, before the job's program starts.

    To be called when nothing of them will be changed any more, not even their owner. Only where
    patterns lead is looked at. Names that are no text are left out: they are no outputs.
    """
    wanted = [tuple(pattern.split("/")) for pattern in patterns]
    return {name: FileState.of(info) for name, info in _covered(volume, wanted)}


def left_alone(volume: int, names: Iterable[str], noted: Mapping[str, FileState]) -> Iterator[str]:
    """Which of these files of an open volume are still as they were noted."""
    for name in names:
        if name in noted and _state(volume, name) == noted[name]:
            yield name


def _state(volume: int, name: str) -> FileState | None:
    try:
        with safe_paths.parent_of(volume, name) as (folder, last):
            return FileState.of(os.stat(last, dir_fd=folder, follow_symlinks=False))
    except OSError:
        return None


def _covered(volume: int, wanted: list[tuple[str, ...]]) -> Iterator[tuple[str, os.stat_result]]:
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        here = waiting.pop()
        with safe_paths.open_directory(volume, here) as folder, os.scandir(folder) as scanned:
            for item in scanned:
                parts = (*here, item.name)
                info = item.stat(follow_symlinks=False)
                if not _is_text(item.name):
                    continue
                if stat.S_ISDIR(info.st_mode):
                    waiting += [parts] if any(_leads_to(parts, each) for each in wanted) else []
                elif stat.S_ISREG(info.st_mode) and any(
                    outputs.covers(each, parts) for each in wanted
                ):
                    yield "/".join(parts), info


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _leads_to(folder: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    return len(folder) < len(pattern) and outputs.covers(pattern[: len(folder)], folder)
