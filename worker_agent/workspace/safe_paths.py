"""Files beneath a directory, reached without ever following a symbolic link.

A job writes whatever it likes into its volume, and the agent reads it with more rights than the
job had. So every name is walked one component at a time from an open directory, each step refusing
links, and what was opened is what is read (docs/explanation/architecture.md, Trust).

Names are relative POSIX paths, ``a/b/c``. A descriptor returned is the caller's to close.
"""

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_EXCHANGED = (errno.ELOOP, errno.ENXIO)
"""A link, or a socket or an idle pipe, in place of the file that was looked at."""
_LONGEST_COMPONENT = 250
"""Bytes; a file system takes 255, and a message file adds ``.txt`` (docs/spec/agent.md 9.7)."""


class UnsafeName(ValueError):
    """A text that is not a name beneath a directory; the text says what is wrong with it."""


class NotARegularFile(OSError):
    """Something other than an ordinary file: a link, a pipe, a socket, a device, a directory."""


def parts_of(name: str) -> tuple[str, ...]:
    """The components of a name; UnsafeName if it is not one in standard form, fit for any disk."""
    if not name:
        raise UnsafeName("is empty")
    if name.startswith("/"):
        raise UnsafeName("is an absolute path")
    if "\0" in name:
        raise UnsafeName("contains a NUL character")
    parts = tuple(name.split("/"))
    if any(part in ("", ".", "..") for part in parts):
        raise UnsafeName("is not in standard form (contains double slashes or '..' elements)")
    try:
        longest = max(len(os.fsencode(part)) for part in parts)
    except UnicodeEncodeError:
        raise UnsafeName("is not valid text") from None
    if longest > _LONGEST_COMPONENT:
        raise UnsafeName(f"has a part longer than {_LONGEST_COMPONENT} bytes")
    return parts


@contextmanager
def directory(path: Path, *, create: bool = False) -> Iterator[int]:
    """Open a directory that the operator chose; links on the way to it are the operator's."""
    if create:
        path.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, _DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def open_directory(root: int, parts: Iterable[str], *, create: bool = False) -> Iterator[int]:
    """Open the directory ``parts`` beneath ``root``; with no parts, ``root`` once more.

    OSError if a component is missing, or is not a real directory.
    """
    here = os.dup(root)
    try:
        for part in parts:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(part, dir_fd=here)
            below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


@contextmanager
def parent_of(root: int, name: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
    """Open the directory that holds ``name``: its descriptor and the last component.

    Errors as of :func:`parts_of` and :func:`open_directory`.
    """
    *folders, last = parts_of(name)
    with open_directory(root, folders, create=create) as folder:
        yield folder, last


def open_file(root: int, name: str) -> int:
    """Open an ordinary file for reading; NotARegularFile for anything else.

    Errors else as of :func:`parent_of`, and OSError if it is missing or cannot be read.
    """
    with parent_of(root, name) as (folder, last):
        # Looked at before it is opened, because opening a device or a pipe may have effects; and
        # once more after, because only the open one cannot be exchanged.
        if not stat.S_ISREG(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
            raise NotARegularFile(f"{name} is not an ordinary file")
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(last, flags, dir_fd=folder)
        except OSError as error:
            if error.errno in _EXCHANGED:
                raise NotARegularFile(f"{name} is not an ordinary file") from error
            raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NotARegularFile(f"{name} is not an ordinary file")
    return descriptor
