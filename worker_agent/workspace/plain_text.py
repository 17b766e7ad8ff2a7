"""Whether a file is the text that its name says, and its lines (docs/spec/agent.md 9.6).

Text is in an encoding that is known, to its last byte, and has no control characters but those of
layout and colour. That is a property: no list of formats has to know what else there may be. Memory
is bounded by a chunk, or by the longest line allowed.
"""

import codecs
import io
import re
from collections.abc import Iterator
from enum import Enum
from typing import BinaryIO

from worker_agent.workspace.level4_texts import Problem

_CHUNK = 64 * 1024
_LONGEST_LINE = 2 * 1024 * 1024
_MARKS = {
    # UTF-32 first: the mark of UTF-16 is the beginning of its own.
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_UNMARKED = ("utf-8", "cp1252")
"""What a file without a byte-order mark may be in; windows-1252 has all printable of latin-1."""
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_BROKEN_COLOUR = re.compile(r"\x1b(?:\[[0-9;:]{0,64})?\Z")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]+")


class Controls(Enum):
    """Control characters that a text must not have, beside NUL."""

    OF_TEXT = re.compile(r"[\x01-\x07\x0b\x0e-\x1f\x7f-\x9f]")
    """All but tab, line feed, carriage return, form feed and backspace."""
    OF_TABLE = re.compile(r"[\x01-\x07\x0b\x0e-\x1b\x7f-\x84\x86-\x9f]")
    """Separators of fields, records and lines are for tables."""


class LineTooLong(Exception):
    """A line is too long to hold."""


def encoding_of(file: BinaryIO, refused: Controls) -> str | Problem:
    """The encoding in which a file is text, or why it is none.

    Raises:
        OSError: it cannot be read.
    """
    file.seek(0)
    beginning = file.read(len(codecs.BOM_UTF32_LE))
    if beginning and _is_part_of_a_mark(beginning):
        return Problem.NOT_TEXT
    for mark, encoding in _MARKS.items():
        if beginning.startswith(mark):
            return _problem(file, encoding, refused) or encoding
    for encoding in _UNMARKED:
        problem = _problem(file, encoding, refused)
        if problem is not Problem.NOT_TEXT:
            return problem or encoding
    return Problem.NOT_TEXT


def lines(file: BinaryIO, encoding: str) -> Iterator[str]:
    """The lines of a text, with their ends, without a byte-order mark.

    Raises:
        LineTooLong: a line is too long.
        UnicodeError: it is not in this encoding.
        OSError: it cannot be read.
    """
    mark = "\ufeff"
    for line in _split(file, encoding, _LONGEST_LINE + 1):
        if len(line) > _LONGEST_LINE:
            raise LineTooLong
        # The mark would otherwise be part of the first name.
        if line := line.removeprefix(mark):
            yield line
        mark = ""


def bytes_as_ascii(file: BinaryIO) -> Iterator[str]:
    """The lines as one reads them who takes the bytes for ASCII: others are a bar.

    So names in ASCII are found whatever the encoding really is: a file may say the wrong one.
    """
    for line in _split(file, "latin-1", 4 * _LONGEST_LINE):
        yield _BEYOND_ASCII.sub("|", line)


def _is_part_of_a_mark(content: bytes) -> bool:
    # Decoders that look for a mark wait for the rest of it, and give "" for such a file.
    return content not in _MARKS and any(
        mark.startswith(content) and mark != content for mark in _MARKS
    )


def _problem(file: BinaryIO, encoding: str, refused: Controls) -> Problem | None:
    """Why a file is no text in this encoding."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    file.seek(0)
    held = ""
    try:
        while chunk := file.read(_CHUNK):
            text = _COLOUR.sub("", held + decoder.decode(chunk))
            broken = _BROKEN_COLOUR.search(text)
            held = broken[0] if broken else ""
            text = text[: len(text) - len(held)]
            if "\0" in text:
                return Problem.NUL
            if refused.value.search(text):
                return Problem.CONTROL
        held += decoder.decode(b"", final=True)
    except UnicodeError:
        return Problem.NOT_TEXT
    if decoder.getstate()[0]:
        return Problem.NOT_TEXT  # it never said what these bytes are
    return Problem.CONTROL if held else None


def _split(file: BinaryIO, encoding: str, most: int) -> Iterator[str]:
    file.seek(0)
    text = io.TextIOWrapper(file, encoding=encoding, errors="strict", newline="")
    try:
        while line := text.readline(most):
            yield line
    finally:
        text.detach()
