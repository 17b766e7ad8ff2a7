"""The gate to level 4: which moderately sensitive files output checkers may see (agent.md 9.6).

**It fails closed.** A file passes only when everything it was checked for is known to be absent: a
table that cannot be decoded, parsed or counted is excluded, with the reason. The checks are pure:
an open file, its name and the limits in, a verdict out; nothing is stored or logged. Memory is
bounded by the longest line allowed, not by the file.
"""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from pathlib import PurePosixPath
from typing import BinaryIO

from rap.models import JobDefinition, Model
from worker_agent.workspace import level4_notes, packed

_PATIENT_ID = "patient_id"
_BORDERS = re.compile(r"[;\t|,:.\r\n]")
_BORDERS_AND_BLANKS = re.compile(r"[;\t|,:.\s]")
_TRIMMINGS = (
    " \"'`\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2039\u203a\u00ab\u00bb[](){}<>=#"
)
"""What can stand around a column's name without being part of it: blanks, quotes, brackets."""
_UNSEEN = ("Cc", "Cf", "Me", "Mn")
"""Categories of characters that a reader does not see, or as a mark on another one."""
_ASCII_UNSEEN = {code: None for code in (*range(32), 127) if chr(code) not in "\t\r\n"}
_LONGEST_LINE = 2 * 1024 * 1024


class Level4Limits(Model):
    """What may reach level 4."""

    max_filesize: int
    """Bytes, inclusive."""
    max_csv_rows: int
    """Rows after the header, inclusive."""
    file_types: tuple[str, ...]
    """Last suffixes, with their dot; capitals count."""

    @classmethod
    def of(cls, definition: JobDefinition) -> "Level4Limits":
        """The limits that came with a job."""
        return cls(
            max_filesize=definition.level4_max_filesize,
            max_csv_rows=definition.level4_max_csv_rows,
            file_types=definition.level4_file_types,
        )


class Level4Verdict(Model):
    """What the gate found about one file."""

    short_messages: tuple[str, ...] = ()
    """Why the file is excluded, for lists; empty: it passes."""
    long_messages: tuple[str, ...] = ()
    """The same for the file that is shown in its place."""
    row_count: int | None = None
    """Rows of a table; ``None`` when it is not one or could not be counted."""
    col_count: int | None = None

    @property
    def excluded(self) -> bool:
        """Whether the file must stay away from level 4."""
        return bool(self.short_messages)

    @property
    def message(self) -> str | None:
        """The short messages as one text."""
        return ",".join(self.short_messages) or None

    @property
    def note(self) -> str:
        """The long messages as one text."""
        return "\n\n".join(self.long_messages)


class Problem(StrEnum):
    """Why a table cannot be trusted; the values are the short messages."""

    UNREADABLE = "File could not be read"
    NOT_TEXT = "File is not valid UTF-8 text"
    NUL = "File contains NUL bytes"
    TOO_LONG = "File has a line too long to check"
    PACKED = "File contains compressed or packed data"
    NOT_SVG = "File is not a compressed SVG image"
    MALFORMED = "File is not a well-formed CSV file"
    RAGGED = "File has rows with different numbers of columns"


class _Untrusted(Exception):
    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem


def check(file: BinaryIO, name: str, limits: Level4Limits) -> Level4Verdict:
    """Decide about one moderately sensitive file.

    Args:
        file: the very bytes that would be shown; read from the start.
        name: its name in the workspace.
        limits: what may pass.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    except (OSError, ValueError):
        return _excluded((Problem.UNREADABLE, level4_notes.unreadable(name)))
    if size > limits.max_filesize:
        shown, limit = _mebibytes(size), _mebibytes(limits.max_filesize)
        return _excluded(
            (
                f"File size of {shown}Mb is larger than limit of {limit}Mb.",
                level4_notes.too_big(name, shown, limit),
            )
        )
    suffix = PurePosixPath(name).suffix
    if suffix not in limits.file_types:
        return _excluded(
            (
                f"File type of {suffix} is not valid level 4 file",
                level4_notes.wrong_type(name, suffix),
            )
        )
    try:
        problem = _packed(file, suffix, limits)
    except (OSError, ValueError):
        problem = Problem.UNREADABLE
    if problem is not None:
        return _excluded((problem.value, _NOTES[problem](name)))
    if suffix.lower() != ".csv":
        return Level4Verdict()
    return _check_table(file, name, limits.max_csv_rows)


def _packed(file: BinaryIO, suffix: str, limits: Level4Limits) -> Problem | None:
    if suffix.lower() == ".svgz":
        is_svg = packed.is_compressed_svg(file, limits.max_filesize)
        return None if is_svg else Problem.NOT_SVG
    return Problem.PACKED if packed.is_packed(file) else None


def _check_table(file: BinaryIO, name: str, max_rows: int) -> Level4Verdict:
    table = _Table()
    messages: list[tuple[str, str]] = []
    problem = table.read(file)
    if table.has_patient_id:
        messages.append(("File has patient_id column", level4_notes.patient_id(name)))
    if problem is None and table.rows > max_rows:
        messages.append(
            (
                f"File row count ({table.rows}) exceeds maximum allowed rows ({max_rows})",
                level4_notes.too_many_rows(name, table.rows, max_rows),
            )
        )
    if problem is not None:
        messages.append((problem.value, _NOTES[problem](name)))
    elif table.ragged:
        messages.append((Problem.RAGGED.value, level4_notes.ragged(name)))
    counted = problem is None
    return Level4Verdict(
        short_messages=tuple(short for short, _ in messages),
        long_messages=tuple(long for _, long in messages),
        row_count=table.rows if counted else None,
        col_count=table.cols if counted else None,
    )


class _Table:
    """One pass over a CSV file: what its records amount to."""

    def __init__(self) -> None:
        self.has_patient_id = False
        self.rows = 0
        self.cols = 0
        self.ragged = False
        self._suspicious = False

    def read(self, file: BinaryIO) -> Problem | None:
        """Read to the end, or to the first thing that makes the table untrustworthy."""
        try:
            lines = self._look_at(_lines(file))
            # strict: a quote that is never closed would hide all rows behind it.
            records = (record for record in csv.reader(lines, strict=True) if record)
            header = next(records, None)
            if header is None:
                return None
            self._look_for_patient_id(header, _BORDERS if header[1:] else _BORDERS_AND_BLANKS)
            for record in records:
                if not self.rows:
                    self.cols = len(set(header)) + (len(record) > len(header))
                self.rows += 1
                self.ragged = self.ragged or len(record) != len(header)
                self._look_for_patient_id(record, _BORDERS)
        except _Untrusted as error:
            return error.problem
        except UnicodeError:
            return Problem.NOT_TEXT
        except csv.Error:
            return Problem.MALFORMED
        except (OSError, ValueError):
            return Problem.UNREADABLE
        return None

    def _look_at(self, lines: Iterator[str]) -> Iterator[str]:
        """Note which lines hold the forbidden name at all: few records need a closer look."""
        for line in lines:
            self._suspicious = self._suspicious or _PATIENT_ID in _plain(line)
            yield line

    def _look_for_patient_id(self, record: list[str], borders: re.Pattern[str]) -> None:
        # Every record, not only the first: a title line may stand above the header.
        if self._suspicious and not self.has_patient_id:
            self.has_patient_id = any(_names_patients(cell, borders) for cell in record)
        self._suspicious = False


def _names_patients(cell: str, borders: re.Pattern[str]) -> bool:
    """Whether a cell is the forbidden column's name, however it is dressed.

    A table with another separator arrives as one cell, and programs that merge tables lengthen a
    name by a point and a letter; so the pieces are looked at too.
    """
    return any(piece.strip(_TRIMMINGS) == _PATIENT_ID for piece in borders.split(_plain(cell)))


def _plain(text: str) -> str:
    """Text in small letters, look-alikes made ordinary, without marks that nobody sees."""
    if text.isascii():
        return text.lower().translate(_ASCII_UNSEEN)
    text = unicodedata.normalize("NFKD", text).casefold()
    return "".join(
        character
        for character in text
        if character in "\t\r\n" or unicodedata.category(character) not in _UNSEEN
    )


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a text file, none of them too long to hold.

    Raises:
        UnicodeError: it is not UTF-8.
        _Untrusted: a line is too long, or holds a NUL.
    """
    # utf-8-sig takes a byte-order mark away, which would otherwise be part of the first name.
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="strict", newline="")
    try:
        while line := text.readline(_LONGEST_LINE + 1):
            if len(line) > _LONGEST_LINE:
                raise _Untrusted(Problem.TOO_LONG)
            if "\0" in line:
                raise _Untrusted(Problem.NUL)
            yield line
    finally:
        text.detach()


def _excluded(*messages: tuple[str, str]) -> Level4Verdict:
    return Level4Verdict(
        short_messages=tuple(short for short, _ in messages),
        long_messages=tuple(long for _, long in messages),
    )


def _mebibytes(size: int) -> float:
    return round(size / (1024 * 1024), 2)


_NOTES = {
    Problem.UNREADABLE: level4_notes.unreadable,
    Problem.NOT_TEXT: level4_notes.not_text,
    Problem.NUL: level4_notes.nul,
    Problem.TOO_LONG: level4_notes.too_long,
    Problem.PACKED: level4_notes.packed,
    Problem.NOT_SVG: level4_notes.not_svg,
    Problem.MALFORMED: level4_notes.malformed,
    Problem.RAGGED: level4_notes.ragged,
}
