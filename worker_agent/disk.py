"""Room on the disk: kept in reserve, asked for before it is needed, and told when it is gone."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rap.egress import Fault
from rap.errors import TransientFault

RESERVE = 128 * 1024 * 1024
"""Bytes that are left free on every disk, for the logs and records of other jobs."""


_FAULTS = {errno.EROFS: (Fault.DISK_READ_ONLY, "the disk cannot be written to")} | dict.fromkeys(
    (errno.ENOSPC, errno.EDQUOT), (Fault.DISK_FULL, "no space left on the disk")
)


DISK_FAULTS = frozenset({Fault.DISK_FULL, Fault.DISK_READ_ONLY})


def disk_fault(error: OSError) -> TransientFault | None:
    """DISK_FULL or DISK_READ_ONLY if that is what an error says."""
    if error.errno not in _FAULTS:
        return None
    fault, why = _FAULTS[error.errno]
    return TransientFault(fault, f"{why}: {error}")


def trouble_of(folder: Path, reserve: int) -> Fault | None:
    """What is wrong with the disk of a folder: it is full, or nothing can be written to it.

    ``None`` also where that cannot be known from here.
    """
    try:
        disk = os.statvfs(folder)
    except OSError:
        return None
    if disk.f_flag & os.ST_RDONLY:
        return Fault.DISK_READ_ONLY
    has_no_inodes = disk.f_files > 0 and disk.f_ffree == 0
    if has_no_inodes or disk.f_bavail * disk.f_frsize < max(reserve, 1):
        return Fault.DISK_FULL
    return None


@contextmanager
def disk_faults() -> Iterator[None]:
    """Turn the errors of a full or read-only disk into faults: the job may be tried again."""
    try:
        yield
    except OSError as error:
        if (fault := disk_fault(error)) is not None:
            raise fault from error
        raise


def require_space(folder: int, needed: int, *, reserve: int | None = None) -> None:
    """Raise DISK_FULL unless bytes fit on an open directory's disk, and ``reserve`` stay free."""
    disk = os.fstatvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    kept = RESERVE if reserve is None else reserve
    if needed + kept > free:
        raise TransientFault(
            Fault.DISK_FULL,
            f"{needed} bytes do not fit: {free} bytes are free, of which {kept} stay free",
        )
