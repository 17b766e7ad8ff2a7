"""Copies of files that are whole or absent, and hashed as they are made (agent.md 7.3, 9.5).

A copy is read from one open descriptor, written to a new file that nobody looks at, and only then
given its name. So a reader never sees half a file, a link in the target's place is replaced and not
followed, and the hash is that of the bytes kept. What a record relies on is also forced to the disk
before the record is ("durable"): it is there after a loss of power. That is slow, so what can be
made again is not.
"""

import ctypes
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import NamedTuple

from rap.egress import Fault
from rap.errors import PermanentFault, TransientFault
from worker_agent.workspace import beneath

_CHUNK = 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
RESERVE = 128 * 1024 * 1024
"""Bytes that are left free on every disk, for the logs and records of other jobs."""


class Interrupted(Exception):
    """Nobody wants the copy any more."""


class Copied(NamedTuple):
    """What was copied."""

    size: int
    sha256: str
    """Hexadecimal."""


@contextmanager
def disk_faults() -> Iterator[None]:
    """Turn "no space left" into the fault that says so.

    Raises:
        TransientFault: DISK_FULL; the job may be tried again once there is space.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise TransientFault(Fault.DISK_FULL, f"no space left on the disk: {error}") from error
        raise


def check_space(folder: int, needed: int, *, reserve: int | None = None) -> None:
    """Make sure that ``needed`` more bytes fit on the disk of an open directory.

    Args:
        folder: descriptor of the directory.
        needed: bytes.
        reserve: bytes that are to stay free; :data:`RESERVE` if not given.

    Raises:
        TransientFault: DISK_FULL.
    """
    disk = os.fstatvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    kept = RESERVE if reserve is None else reserve
    if needed + kept > free:
        raise TransientFault(
            Fault.DISK_FULL,
            f"{needed} bytes do not fit: {free} bytes are free, of which {kept} stay free",
        )


def copy_open_file(
    source: int,
    folder: int,
    name: str,
    *,
    called: str,
    durable: bool = True,
    unwanted: Event | None = None,
) -> Copied:
    """Copy an open file to a new file ``name`` in an open directory.

    The permissions are the source's, within the process's umask; the time is that of the copy.

    Args:
        source: descriptor; read from its start.
        folder: descriptor of the directory to copy into.
        name: of the copy; nothing of that name may be there.
        called: the source's name for the error.
        durable: force the bytes to the disk; the directory is the caller's to force.
        unwanted: set while it is copied, it ends the copying: a thread cannot be cancelled.

    Raises:
        Interrupted: the copy became unwanted.
        PermanentFault: OUTPUTS_REFUSED, the file changed while it was read.
        TransientFault: DISK_FULL.
        OSError: the file cannot be read or written. In every case no copy is left.
    """
    before = os.fstat(source)
    digest = hashlib.sha256()
    size = 0
    with disk_faults(), _new_file(folder, name, stat.S_IMODE(before.st_mode)) as target:
        os.lseek(source, 0, os.SEEK_SET)
        while chunk := os.read(source, _CHUNK):
            if unwanted is not None and unwanted.is_set():
                raise Interrupted
            digest.update(chunk)
            size += len(chunk)
            _write(target, chunk)
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


def replace(staged_in: int, staged: str, folder: int, name: str) -> None:
    """Move a finished file to its place, over whatever file or link has that name."""
    os.replace(staged, name, src_dir_fd=staged_in, dst_dir_fd=folder)


def copy_into(source: int, root: int, name: str, unwanted: Event | None = None) -> Copied:
    """Copy an open file to ``name`` beneath an open directory; parents are made. Not durable.

    Raises:
        As :func:`copy_open_file` and :func:`beneath.open_directory`.
    """
    with beneath.parent_of(root, name, create=True) as (folder, last):
        temporary = f".{secrets.token_hex(8)}.tmp"
        copied = copy_open_file(
            source, folder, temporary, called=name, durable=False, unwanted=unwanted
        )
        try:
            replace(folder, temporary, folder, last)
        except BaseException:
            os.unlink(temporary, dir_fd=folder)
            raise
        return copied


def write_file(
    path: Path,
    content: bytes | Iterable[bytes],
    *,
    staging: Path | None = None,
    durable: bool = True,
) -> None:
    """Write a whole file atomically.

    Args:
        path: the file; its parents are made.
        content: all of its bytes, at once or piece by piece.
        staging: a directory of the same file system for the unfinished file, where readers of the
            file's own directory do not see it.
        durable: force it, and its name, to the disk.

    Raises:
        TransientFault: DISK_FULL.
    """
    with (
        disk_faults(),
        beneath.directory(path.parent, create=True) as folder,
        beneath.directory(staging or path.parent, create=True) as workshop,
    ):
        temporary = f".{secrets.token_hex(8)}.tmp"
        with _new_file(workshop, temporary, 0o666) as target:
            for piece in (content,) if isinstance(content, bytes) else content:
                _write(target, piece)
            if durable:
                os.fsync(target)
            replace(workshop, temporary, folder, path.name)
        if durable:
            os.fsync(folder)


def write_new(folder: int, name: str, content: bytes, *, durable: bool = True) -> None:
    """Write a new file in an open directory, forced to the disk if it has to be durable."""
    with disk_faults(), _new_file(folder, name, 0o666) as target:
        _write(target, content)
        if durable:
            os.fsync(target)


def force_to_disk(folder: int) -> None:
    """Force all that was written to the disk of an open directory: one wait instead of many.

    It waits for what others write there too, so it is for many files only.

    Raises:
        TransientFault: DISK_FULL.
        OSError: something of it could not be written.
    """
    with disk_faults():
        if _libc.syncfs(folder) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


@contextmanager
def _new_file(folder: int, name: str, mode: int) -> Iterator[int]:
    """A new file to write; deleted again when the block fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    # The owner can always read and replace it, and it never runs as somebody else.
    descriptor = os.open(name, flags, (mode & 0o777) | 0o600, dir_fd=folder)
    try:
        yield descriptor
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)


def _write(target: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(target, view) :]
