"""The bag around a crate (BagIt 1.0), in a folder that an operator names: whole or absent."""

import logging
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import bagit

from rap.errors import RapError
from worker_agent.disk import RESERVE

_VERSION = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def checked_target(folder: Path, storage: Mapping[str, Path]) -> Path:
    """The folder for a bag, absolute; RapError if it cannot be one.

    ``storage`` are the agent's own folders, by the settings that name them. In none of them may a
    bag be: what is there is shown to somebody, or deleted, by other rules.
    """
    target = folder.absolute()
    real = target.resolve()
    for setting, kept in storage.items():
        if real.is_relative_to(kept.resolve()):
            raise RapError(
                f"{target} is within the backend's own storage ({setting}). Name a folder outside: "
                "whether a crate goes anywhere else is the reviewers' decision."
            )
    if not real.parent.is_dir():
        raise RapError(f"{real.parent} is not a folder: make it first.")
    if real.exists() and (not real.is_dir() or any(real.iterdir())):
        raise RapError(f"{target} is there already. Name a folder that is empty or not there.")
    return real


def check_room(folder: Path, needed: int) -> None:
    """RapError unless so many bytes fit beside a folder."""
    disk = os.statvfs(folder.parent)
    free = disk.f_bavail * disk.f_frsize
    if needed + RESERVE > free:
        raise RapError(
            f"The files of the crate take {needed / 1e6:.0f} MB, and {folder.parent} has "
            f"{max(0, free - RESERVE) / 1e6:.0f} MB for them."
        )


@contextmanager
def unfinished(target: Path, *, private: bool) -> Iterator[Path]:
    """A new folder beside the target, which becomes the target when the block is done.

    Whatever ends the block otherwise, nothing is left. While it is unfinished, and for good if it
    is ``private``, only its owner can look into it.
    """
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.unfinished")
    folder.mkdir(mode=0o700)
    try:
        yield folder
        if not private:
            mask = os.umask(0o077)
            os.umask(mask)
            folder.chmod(0o777 & ~mask)
        folder.rename(target)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def make(folder: Path, info: Mapping[str, str]) -> None:
    """Make a bag of a folder: what is in it becomes the payload, ``data/``."""
    # It writes about each file, as a program of its own would.
    logging.getLogger("bagit").setLevel(logging.CRITICAL)
    bag = bagit.make_bag(str(folder), dict(info), checksums=["sha512"])
    # The library declares an earlier version, which asks for less; then what is hashed has changed.
    (folder / "bagit.txt").write_text(_VERSION)
    bag.save()
