"""Files that are whole or absent: written beside their place, and moved there when complete.

So a reader never sees half a file, and a link in the file's place is replaced and not followed.
What a record relies on is also forced to the disk before the record is ("durable"): it is there
after a loss of power. That is slow, so what can be made again is not.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker_agent.disk import disk_faults
from worker_agent.workspace import safe_paths


def write_file(
    path: Path,
    content: bytes | Iterable[bytes],
    *,
    staging: Path | None = None,
    durable: bool = True,
    mode: int = 0o666,
) -> None:
    """Write a whole file, over what has its name, or raise DISK_FULL; its parents are made.

    ``staging`` is a directory of the same file system for the unfinished file, where readers of the
    file's own directory do not see it. The mode is within the process's umask.
    """
    with (
        disk_faults(),
        safe_paths.directory(path.parent, create=True) as folder,
        safe_paths.directory(staging or path.parent, create=True) as workshop,
    ):
        temporary = temporary_name()
        with new_file(workshop, temporary, mode) as target:
            for piece in (content,) if isinstance(content, bytes) else content:
                write_all(target, piece)
            if durable:
                os.fsync(target)
            replace(workshop, temporary, folder, path.name)
        if durable:
            os.fsync(folder)


def write_new(folder: int, name: str, content: bytes, *, durable: bool = True) -> None:
    """Write a new file, or raise DISK_FULL. The directory's own change is the caller's to force."""
    with disk_faults(), new_file(folder, name, 0o666) as target:
        write_all(target, content)
        if durable:
            os.fsync(target)


def temporary_name() -> str:
    """A name for an unfinished file."""
    return f".{secrets.token_hex(8)}.tmp"


def replace(staged_in: int, staged: str, folder: int, name: str) -> None:
    """Move a finished file to its place, over whatever file or link has that name."""
    os.replace(staged, name, src_dir_fd=staged_in, dst_dir_fd=folder)


@contextmanager
def new_file(folder: int, name: str, mode: int) -> Iterator[int]:
    """A new file to write in an open directory; deleted again when the block fails."""
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


def write_all(target: int, content: bytes) -> None:
    """Write all bytes to an open file, however few the system takes at once."""
    view = memoryview(content)
    while view:
        view = view[os.write(target, view) :]
