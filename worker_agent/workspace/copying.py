"""Copies of files, hashed as they are made (docs/spec/agent.md 7.3, 9.5).

A copy is read from one open descriptor, written to a new file that nobody looks at, and only then
given its name: so the hash is that of the bytes kept.
"""

import ctypes
import hashlib
import os
import stat
from typing import NamedTuple, Protocol

from rap.egress import Fault
from rap.errors import PermanentFault
from worker_agent.atomic_files import new_file, write_all
from worker_agent.disk import disk_faults

_CHUNK = 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


class Interrupted(Exception):
    """Nobody wants the copy any more."""


class Unwanted(Protocol):
    """Tells a thread, which nobody can cancel, that its work is not wanted any more."""

    def is_set(self) -> bool:
        """Whether it may stop."""


class Copied(NamedTuple):
    """What was copied."""

    size: int
    sha256: str
    """Hexadecimal."""


class Version(NamedTuple):
    """Tells the file that has a name from those that had it before, and from its own past.

    Without the time at which its name, links or owner were changed: its bytes are the same.
    """

    device: int
    inode: int
    size: int
    modified_ns: int

    @classmethod
    def of(cls, info: os.stat_result) -> "Version":
        """The one that was looked at."""
        return cls(info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns)


def copy_open_file(
    source: int,
    folder: int,
    name: str,
    *,
    called: str,
    durable: bool = True,
    unwanted: Unwanted | None = None,
) -> Copied:
    """Copy an open file, from its start, to a new file ``name`` in an open directory.

    The permissions are the source's, within the process's umask; the time is that of the copy.
    Nothing of that name may be there. ``called`` is the source's name for the error. The directory
    is the caller's to force to the disk. Setting ``unwanted`` ends the copying.

    Raises:
        Interrupted: the copy became unwanted.
        PermanentFault: OUTPUTS_REFUSED, the file changed while it was read.
        TransientFault: DISK_FULL.
        OSError: the file cannot be read or written. In every case no copy is left.
    """
    before = os.fstat(source)
    with disk_faults(), new_file(folder, name, stat.S_IMODE(before.st_mode)) as target:
        copied = _copy(source, target, before.st_size, unwanted)
        after = os.fstat(source)
        # The time of the last change tells also of a writer that sets the other one back.
        if copied.size != before.st_size or _state(before) != _state(after):
            raise PermanentFault(
                Fault.OUTPUTS_REFUSED, f"{called} was changed while it was being copied"
            )
        if durable:
            os.fsync(target)
    return copied


def copy_version(
    source: int, folder: int, name: str, unwanted: Unwanted | None = None
) -> tuple[Copied, Version | None]:
    """Copy an open file that others may replace meanwhile, and tell which version was copied.

    A file that is moved to its name does not touch the open one, whose copy is whole. ``None`` if
    the open one itself was written to: then nothing is known of the copy but its hash. Not durable;
    else as :func:`copy_open_file`, without its OUTPUTS_REFUSED.
    """
    before = os.fstat(source)
    with disk_faults(), new_file(folder, name, stat.S_IMODE(before.st_mode)) as target:
        copied = _copy(source, target, before.st_size, unwanted)
    after, version = os.fstat(source), Version.of(before)
    # A file that lost its name has another time of change, too; else that tells of a writer.
    is_touched = after.st_ctime_ns != before.st_ctime_ns and after.st_nlink == before.st_nlink
    is_whole = copied.size == before.st_size and version == Version.of(after) and not is_touched
    return copied, version if is_whole else None


def _copy(source: int, target: int, expected: int, unwanted: Unwanted | None) -> Copied:
    digest = hashlib.sha256()
    size = 0
    os.lseek(source, 0, os.SEEK_SET)
    while chunk := os.read(source, _CHUNK):
        if unwanted is not None and unwanted.is_set():
            raise Interrupted
        digest.update(chunk)
        size += len(chunk)
        write_all(target, chunk)
        if size > expected:
            break  # it grows while we read: no end may ever come
    return Copied(size, digest.hexdigest())


def _state(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns


def force_to_disk(folder: int) -> None:
    """Force all that was written to the disk of an open directory: one wait instead of many.

    It waits for what others write there too, so it is for many files only; DISK_FULL or OSError.
    """
    with disk_faults():
        if _libc.syncfs(folder) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
