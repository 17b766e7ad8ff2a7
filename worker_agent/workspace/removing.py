"""Deleting a directory that a job has filled, whatever it did to hinder that.

It stands alone because mistakes in it delete the wrong files: mutation testing keeps away from it.
"""

import os
import secrets
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove_tree(path: Path) -> list[str]:
    """Delete a directory and everything in it, whatever its depth and its permissions.

    Directories are moved up to the top before they are emptied, so neither the depth of the tree
    nor the length of a path in it matters. What could not be deleted is returned, as paths: nothing
    when all is gone (or nothing was there).
    """
    try:
        _make_passable(None, str(path))
        top = os.open(path, _DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        path.unlink(missing_ok=True)
        return []
    failed: list[str] = []
    try:
        waiting = _empty(top, top, str(path), failed)
        while waiting:
            moved, shown = waiting.pop()
            try:
                folder = os.open(moved, _DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            except OSError:
                failed.append(shown)
                continue
            try:
                waiting += _empty(folder, top, shown, failed)
            finally:
                os.close(folder)
            try:
                os.rmdir(moved, dir_fd=top)
            except OSError:
                failed.append(shown)
    finally:
        os.close(top)
    if not failed:
        path.rmdir()
    return failed


def _empty(folder: int, top: int, shown: str, failed: list[str]) -> list[tuple[str, str]]:
    """Delete the files of a directory and move its directories to the top: new name, old path."""
    moved: list[tuple[str, str]] = []
    with os.scandir(folder) as entries:
        found = list(entries)
    for entry in found:
        where = f"{shown}/{entry.name}"
        try:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.name, dir_fd=folder)
                continue
            _make_passable(folder, entry.name)
            name = f".{secrets.token_hex(16)}"
            os.rename(entry.name, name, src_dir_fd=folder, dst_dir_fd=top)
            moved.append((name, where))
        except OSError:
            failed.append(where)
    return moved


def _make_passable(folder: int | None, name: str) -> None:
    """Give ourselves the rights to look into a directory and to empty it."""
    descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
    try:
        if os.fstat(descriptor).st_mode & 0o700 != 0o700:
            # A descriptor opened by path alone cannot be chmod'ed but through its magic link.
            Path(f"/proc/self/fd/{descriptor}").chmod(0o700)
    finally:
        os.close(descriptor)
