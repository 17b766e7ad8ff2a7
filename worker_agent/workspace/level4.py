"""The gate to level 4: which files output checkers may see (docs/spec/agent.md 9.6).

**It fails closed.** A file passes only when it is what its name says (``file_kinds``) and a table
is known not to name patients (``tables``, ``patient_columns``): one that cannot be decoded, or of
which nobody can say where its rows are, is excluded, with the reason. The checks are pure: an open
file, its name and the limits in, a verdict out; nothing is stored or logged. Memory is bounded by
the longest line allowed, not by the file.
"""

import os
from pathlib import PurePosixPath
from typing import BinaryIO

from rap.models import JobDefinition, Model
from worker_agent.workspace import file_kinds, level4_texts, tables
from worker_agent.workspace.level4_texts import Message, Problem


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

    messages: tuple[Message, ...] = ()
    """Why the file is excluded; empty: it passes."""
    row_count: int | None = None
    """Rows of a table; ``None`` when it is not one or could not be counted."""
    col_count: int | None = None

    @property
    def excluded(self) -> bool:
        """Whether the file must stay away from level 4."""
        return bool(self.messages)

    @property
    def message(self) -> str | None:
        """The short messages as one text."""
        return ",".join(each.short for each in self.messages) or None

    @property
    def message_file(self) -> str:
        """The long messages as one text, for the file in its place."""
        return "\n\n".join(each.long for each in self.messages)


def decide(file: BinaryIO, name: str, limits: Level4Limits) -> Level4Verdict:
    """Decide about one moderately sensitive file, by the very bytes that would be shown."""
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    except (OSError, ValueError):
        return _excluded(level4_texts.unchecked(name, Problem.UNREADABLE))
    if size > limits.max_filesize:
        return _excluded(
            level4_texts.too_big(name, _mebibytes(size), _mebibytes(limits.max_filesize))
        )
    suffix = PurePosixPath(name).suffix
    if suffix not in limits.file_types:
        return _excluded(level4_texts.wrong_type(name, suffix))
    try:
        problem = file_kinds.problem(file, suffix, limits.max_filesize)
        if problem is not None:
            return _excluded(level4_texts.unchecked(name, problem))
        if suffix.lower() == ".csv":
            return _check_table(file, name, limits.max_csv_rows)
    except (OSError, ValueError):
        return _excluded(level4_texts.unchecked(name, Problem.UNREADABLE))
    return Level4Verdict()


def _check_table(file: BinaryIO, name: str, max_rows: int) -> Level4Verdict:
    table = tables.read(file)
    messages: list[Message] = []
    if table.has_patients:
        messages.append(level4_texts.patient_id(name))
    if table.problem is not None:
        messages.append(level4_texts.unchecked(name, table.problem))
    if table.rows is not None and table.rows > max_rows:
        messages.append(level4_texts.too_many_rows(name, table.rows, max_rows))
    return Level4Verdict(messages=tuple(messages), row_count=table.rows, col_count=table.cols)


def _excluded(*messages: Message) -> Level4Verdict:
    return Level4Verdict(messages=messages)


def _mebibytes(size: int) -> float:
    return round(size / (1024 * 1024), 2)
