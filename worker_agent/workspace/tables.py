"""A table at the gate to level 4: whom it names, and how large it is (docs/spec/agent.md 9.6).

Tables are taken as programs write them: with titles and notes, several in a file, rows of any
length. Only what hides rows stays closed: quotes that nobody can match. Records are those of
commas, unless only another separator makes sense of the quotes.
"""

import csv
import re
from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO, NamedTuple

from worker_agent.workspace import patient_columns, plain_text
from worker_agent.workspace.level4_texts import Problem
from worker_agent.workspace.plain_text import Controls, LineTooLong

_OTHER_SEPARATORS = "\t;| :~^&/#\x1f"
_OTHER_SEPARATOR = re.compile(r"[\t;|]")


class Table(NamedTuple):
    """What a file of a table amounts to."""

    has_patients: bool = False
    problem: Problem | None = None
    """Why it could not be checked."""
    rows: int | None = None
    """Records behind the first one; ``None`` when it could not be read to its end."""
    cols: int | None = None
    """Columns of the widest record; also ``None`` when the separator is uncertain."""


def read(file: BinaryIO) -> Table:
    """Read a table; or OSError."""
    encoding = plain_text.encoding_of(file, Controls.OF_TABLE)
    if encoding is Problem.NUL:
        return Table(problem=encoding)
    if isinstance(encoding, Problem):
        return Table(patient_columns.are_in(plain_text.bytes_as_ascii(file)), encoding)
    try:
        return _read(file, encoding)
    except LineTooLong:
        has_patients = patient_columns.are_in(_until_too_long(file, encoding))
        return Table(has_patients, Problem.TOO_LONG)


def _read(file: BinaryIO, encoding: str) -> Table:
    records = _Records(file, encoding, ",")
    for separator in _OTHER_SEPARATORS:
        if records.are_well_formed:
            break
        # With one column nothing speaks for the separator: the quotes are merely not looked at.
        others = _Records(file, encoding, separator)
        if others.are_well_formed and (others.cols or 0) > 1:
            records = others
    if records.are_well_formed:
        known = plain_text.lines(file, encoding)
        problem = None
    else:
        # Behind the last record nobody can say what is a name and what a text.
        known = islice(plain_text.lines(file, encoding), records.lines)
        problem = _why_malformed(file, encoding)
    has_patients = patient_columns.are_in(known)
    if not has_patients and encoding != "utf-8" and problem is None:
        has_patients = patient_columns.are_in(plain_text.bytes_as_ascii(file))
    if problem is not None:
        return Table(has_patients, problem)
    return Table(has_patients, None, records.rows, records.cols)


class _Records:
    """One pass over the records that a separator makes."""

    def __init__(self, file: BinaryIO, encoding: str, separator: str) -> None:
        self.rows = 0
        self.cols: int | None = 0
        self.are_well_formed = True
        self.lines = 0
        """Of complete records."""
        self._other_separator = False
        self._separator = separator
        try:
            self._read(plain_text.lines(file, encoding))
        except csv.Error:
            self.are_well_formed = False

    def _read(self, lines: Iterator[str]) -> None:
        # strict: a quote that is never closed would hide all rows behind it.
        reader = csv.reader(self._watched(lines), delimiter=self._separator, strict=True)
        header: list[str] = []
        widest, narrowest = 0, 0
        for record in reader:
            self.lines = reader.line_num
            if not record:
                continue
            if not header:
                header, narrowest = record, len(record)
            else:
                self.rows += 1
            widest, narrowest = max(widest, len(record)), min(narrowest, len(record))
        if not self.rows:
            self.cols = 0
        elif widest == narrowest:
            self.cols = len(set(header))
        else:
            self.cols = None if self._other_separator else widest

    def _watched(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            if self._separator == "," and not self._other_separator:
                self._other_separator = _OTHER_SEPARATOR.search(line) is not None
            yield line


def _why_malformed(file: BinaryIO, encoding: str) -> Problem:
    """Whether it is the quotes, or a field that is too long: without rules for quotes only that."""
    try:
        for _ in csv.reader(plain_text.lines(file, encoding), strict=False):
            pass
    except csv.Error:
        return Problem.FIELD_TOO_LONG
    return Problem.MALFORMED


def _until_too_long(file: BinaryIO, encoding: str) -> Iterator[str]:
    try:
        yield from plain_text.lines(file, encoding)
    except LineTooLong:
        return
