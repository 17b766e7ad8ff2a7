"""Which files of a volume are a job's outputs (docs/spec/agent.md 9.2, 9.3).

Everything in a volume was made by code that nobody here has read. Only ordinary files count, found
without following links, under names that every reader can show; what is refused is said, with the
reason, to the author of the study.
"""

import os
import stat
import unicodedata
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import PrivacyLevel
from worker_agent.workspace.limits import LIMITS, Limits
from worker_agent.workspace.safe_paths import UnsafeName, open_directory, parts_of

MARKER = ".opensafely-timestamp"
_DEEPEST = 100
_MOST_LISTED = 1000
_LONGEST_NAME = 1000
"""Bytes, so that every reader can open the file by its path."""
_SPARSEST = 64
"""A large file of which not even this part is stored was never written; no compression of a file
system comes near it."""
_UNFIT_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")
_TURNING = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Characters that change the direction of writing: a name would read as another one."""
_KINDS = {
    stat.S_IFLNK: "it is a symbolic link",
    stat.S_IFIFO: "it is a pipe",
    stat.S_IFSOCK: "it is a socket",
}
_NOT_A_FILE = "it is not an ordinary file"


class Matched(NamedTuple):
    """What the patterns found in a volume."""

    outputs: dict[str, PrivacyLevel]
    """Name to level, in the order of the names."""
    sizes: dict[str, int]
    """Name to bytes."""
    unmatched_patterns: tuple[str, ...]
    unmatched_outputs: tuple[str, ...]
    """New files that no pattern covers, for a hint: at most a thousand."""
    refused: dict[str, str]
    """What a pattern covers but is not an output: its name, fit to show, and why."""


NOTHING = Matched({}, {}, (), (), {})


class _Entry(NamedTuple):
    parts: tuple[str, ...]
    info: os.stat_result
    trouble: str | None = None
    """Why what lies below it was not looked at."""


def check_patterns(patterns: dict[str, PrivacyLevel]) -> None:
    """OUTPUT_PATH_REFUSED if a pattern could name anything but a file of the volume.

    The reasons are the controller's for a project file (docs/spec/controller.md 6.3).
    """
    for pattern in patterns:
        reason = _reason_against(pattern)
        if reason:
            raise PermanentFault(
                Fault.OUTPUT_PATH_REFUSED, f"Output path {shown(pattern)} is invalid: {reason}"
            )


def _reason_against(pattern: str) -> str | None:
    if "\\" in pattern:
        return "contains back slashes (use forward slashes only)"
    for wildcard in ("**", "?", "["):
        if wildcard in pattern:
            return f"contains '{wildcard}' (only the * wildcard character is supported)"
    try:
        parts = parts_of(pattern)
    except UnsafeName as error:
        return str(error)
    if parts[0] == "metadata":
        return "should not include the metadata directory"
    if not _is_fit_to_show(pattern):
        return "contains a control character"
    return None


def match(
    volume: int,
    patterns: dict[str, PrivacyLevel],
    prepared_at: float | None,
    limits: Limits = LIMITS,
) -> Matched:
    """Find the outputs in a volume.

    ``*`` stands for any characters within one component, a leading dot included; capitals count.
    When several patterns cover a file, the last one decides its level. Files changed after the
    volume was prepared are new; if that is not known, none is. OUTPUTS_REFUSED if there are more
    than can be kept.
    """
    check_patterns(patterns)
    wanted = [(tuple(pattern.split("/")), level) for pattern, level in patterns.items()]
    found: dict[str, PrivacyLevel] = {}
    sizes: dict[str, int] = {}
    strays: list[str] = []
    refused: dict[str, str] = {}
    hit: set[tuple[str, ...]] = set()
    for entry in _entries(volume):
        name = "/".join(entry.parts) or "."
        covering = [(parts, level) for parts, level in wanted if _covers(parts, entry.parts)]
        new = prepared_at is not None and entry.info.st_mtime_ns > prepared_at * 1e9
        objection = None
        if entry.trouble is not None or not stat.S_ISREG(entry.info.st_mode):
            on_the_way = any(_covers(parts[: len(entry.parts)], entry.parts) for parts, _ in wanted)
            if not covering and not on_the_way:
                continue
            objection = entry.trouble or _KINDS.get(stat.S_IFMT(entry.info.st_mode), _NOT_A_FILE)
        elif covering:
            objection = _objection(entry, limits)
        if objection:
            if len(refused) < _MOST_LISTED:
                refused[_listed(name)] = objection
        elif covering:
            if len(found) >= limits.outputs:
                raise PermanentFault(
                    Fault.OUTPUTS_REFUSED,
                    f"The output patterns match more than {limits.outputs} files. Please write "
                    "fewer, larger files",
                )
            found[name] = covering[-1][1]
            sizes[name] = entry.info.st_size
            hit.update(parts for parts, _ in covering)
        elif new and name != MARKER and len(strays) < _MOST_LISTED:
            strays.append(_listed(name))
    return Matched(
        outputs={name: found[name] for name in sorted(found)},
        sizes=sizes,
        unmatched_patterns=tuple("/".join(parts) for parts, _ in wanted if parts not in hit),
        unmatched_outputs=tuple(sorted(strays)),
        refused={name: refused[name] for name in sorted(refused)},
    )


def shown(name: str) -> str:
    """A name as one harmless line: what cannot be shown is written as an escape."""
    return "".join(
        character if _is_fit_to_show(character) else _escape(character) for character in name
    )


def _listed(name: str) -> str:
    """A name for a list that people read: one harmless line, cut where it is far too long."""
    text = shown(name)
    return text if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]}…"


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def _covers(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    # fnmatch works without backtracking, so a pattern full of stars costs nothing; its other
    # wildcards were refused.
    return len(pattern) == len(parts) and all(map(fnmatchcase, parts, pattern))


def _objection(entry: _Entry, limits: Limits) -> str | None:
    """Why an ordinary file that a pattern covers is not an output."""
    name = "/".join(entry.parts)
    if not _is_fit_to_show(name):
        return "its name contains a control character or is not valid UTF-8"
    if entry.parts[0] == "metadata":
        return "the metadata directory is reserved"
    if entry.parts == (MARKER,):
        return "it belongs to the system"
    if entry.info.st_nlink > 1:
        return "it is a hard link: the same file has another name"
    stored = entry.info.st_blocks * 512
    if limits.sparse_from <= entry.info.st_size > stored * _SPARSEST:
        return "it is a sparse file: hardly anything of it was ever written"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        return f"its name is longer than {_LONGEST_NAME} bytes"
    try:
        parts_of(name)
    except UnsafeName as error:
        return f"its name {error}"
    return None


def _is_fit_to_show(text: str) -> bool:
    if text.isascii():
        return text.isprintable()
    return not any(
        character in _TURNING or unicodedata.category(character) in _UNFIT_CATEGORIES
        for character in text
    )


def _entries(volume: int) -> Iterator[_Entry]:
    """Everything in a volume but its sound directories, each entry looked at without following.

    What lies a hundred directories deep is left alone: no pattern reaches it.
    """
    waiting: list[tuple[str, ...]] = [()]
    while waiting:
        here = waiting.pop()
        try:
            with open_directory(volume, here) as folder, os.scandir(folder) as scanned:
                for item in scanned:
                    parts = (*here, item.name)
                    info = item.stat(follow_symlinks=False)
                    if not stat.S_ISDIR(info.st_mode):
                        yield _Entry(parts, info)
                    elif len(parts) < _DEEPEST:
                        waiting.append(parts)
        except PermissionError:
            yield _Entry(here, os.stat(volume), "the directory cannot be read")
        except (FileNotFoundError, NotADirectoryError):
            yield _Entry(here, os.stat(volume), "the directory was changed while it was read")
