"""Copies of files, hashed as they are made (docs/spec/agent.md 7.3, 9.5).

A copy is read from one open descriptor, written to a new file that nobody looks at, and only then
given its name: so the hash is that of the bytes kept.
"""

import ctypes
import hashlib
import os
import stat
from threading import Event
from typing import NamedTuple

from rap.egress import Fault
from rap.errors import PermanentFault
from worker_agent.atomic_files import new_file, replace, temporary_name, write_all
from worker_agent.disk import disk_faults
from worker_agent.workspace import safe_paths

_CHUNK = 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


class Interrupted(Exception):
    """Nobody wants the copy any more."""


class Copied(NamedTuple):
    """What was copied."""

    size: int
    sha256: str
    """Hexadecimal."""


def copy_open_file(
    source: int,
    folder: int,
    name: str,
    *,
    called: str,
    durable: bool = True,
    unwanted: Event | None = None,
) -> Copied:
    """Copy an open file, from its start, to a new file ``name`` in an open directory.

    The permissions are the source's, within the process's umask; the time is that of the copy.
    Nothing of that name may be there. ``called`` is the source's name for the error. The directory
    is the caller's to force to the disk. Setting ``unwanted`` ends the copying: a thread cannot be
    cancelled.

    Raises:
        Interrupted: the copy became unwanted.
        PermanentFault: OUTPUTS_REFUSED, the file changed while it was read.
        TransientFault: DISK_FULL.
        OSError: the file cannot be read or written. In every case no copy is left.
    """
    before = os.fstat(source)
    digest = hashlib.sha256()
    size = 0
    with disk_faults(), new_file(folder, name, stat.S_IMODE(before.st_mode)) as target:
        os.lseek(source, 0, os.SEEK_SET)
        while chunk := os.read(source, _CHUNK):
            if unwanted is not None and unwanted.is_set():
                raise Interrupted
            digest.update(chunk)
            size += len(chunk)
            write_all(target, chunk)
            if size > before.st_size:
                break  # it grows while we read: no end may ever come
        after = os.fstat(source)
        # The time of the last change tells also of a writer that sets the other one back.
        if size != before.st_size or _state(before) != _state(after):
            raise PermanentFault(
                Fault.OUTPUTS_REFUSED, f"{called} was changed while it was being copied"
            )
        if durable:
            os.fsync(target)
    return Copied(size, digest.hexdigest())


def _state(info: os.stat_result) -> tuple[int, int, int]:
    return info.st_size, info.st_mtime_ns, info.st_ctime_ns


def copy_into(source: int, root: int, name: str, unwanted: Event | None = None) -> Copied:
    """Copy an open file to ``name`` beneath an open directory; parents are made. Not durable."""
    with safe_paths.parent_of(root, name, create=True) as (folder, last):
        temporary = temporary_name()
        copied = copy_open_file(
            source, folder, temporary, called=name, durable=False, unwanted=unwanted
        )
        try:
            replace(folder, temporary, folder, last)
        except BaseException:
            os.unlink(temporary, dir_fd=folder)
            raise
        return copied


def force_to_disk(folder: int) -> None:
    """Force all that was written to the disk of an open directory: one wait instead of many.

    It waits for what others write there too, so it is for many files only; DISK_FULL or OSError.
    """
    with disk_faults():
        if _libc.syncfs(folder) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
