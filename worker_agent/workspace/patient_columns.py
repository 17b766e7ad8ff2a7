"""The column of patients, however a program dresses its name (docs/spec/agent.md 9.6).

One rule: ``patient_id`` in any case, behind an optional ``x.``, ``x$`` or ``x__`` and before an
optional ``_x``, ``_y``, ``.x``, ``.y``, or ``_`` or ``.`` with digits, between two separators or
ends of a line. With other words around it, it is another name: mostly that of a count of people.

Lines are searched rather than records: quotes cannot hide a line. A name is compared as a reader
sees it, so without what is invisible and with look-alikes made ordinary.
"""

import re
import unicodedata
from collections.abc import Iterable

_NAME = "patient_id"
_TRIMMINGS = " \"'`()[]{}<>=-"
"""What can stand around a column's name without being part of it: blanks, quotes, brackets."""
_BEFORE = (".", "$", "__")
_AFTER = re.compile(r"(?:[_.](?:[xy]|[0-9]+))*")
_COUNT = re.compile(r"\b\w+\([^()|]*\)")
"""A function of the column, such as ``n_distinct(df$patient_id)``: a count, no column of it."""
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")

_SEPARATOR = "|"
_SEPARATORS = frozenset("\t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85;|,:^~/&#\\!@*+?\u01c0\u01c1")
"""Beside the punctuation and symbols beyond ASCII, and what has no character: see _look."""
_UNCERTAIN = "-%=.$<>"
"""Separators only if no others are there, and the next line has as many of them."""
_UNDECIDED = "\0"
"""A character that nobody sees: nothing to a reader, a separator to a program."""
_APART = re.compile(f"{_UNDECIDED}*".join(_NAME))
_WORD = re.compile(r'"[^"]*"|[^\s"]+')

# Default_Ignorable_Code_Point of Unicode 15 that is not in the category Cf: fillers, selectors of
# variants, and what is reserved for more of them.
_FILLERS = (
    *((0x034F, 0x034F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2065, 0x2065)),
    *((0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF)),
)
_LOOKS = {
    "Cf": _UNDECIDED,
    "Mn": "",
    "Me": "",
    "Cc": _UNDECIDED,
    "Zs": " ",
    "Ps": '"',
    "Pe": '"',
    "Pi": '"',
    "Pf": '"',
    "Pd": "-",
}
"""What a character beyond ASCII is to the rule, by its category."""


class _Looks(dict[int, str]):
    """What each character is to the rule, decided when it is first met."""

    def __missing__(self, code: int) -> str:
        self[code] = look = _look(chr(code))
        return look


def _look(character: str) -> str:
    if character in _SEPARATORS:
        return _SEPARATOR
    category = unicodedata.category(character)
    if character.isascii() and category != "Cc":
        return character
    if any(first <= ord(character) <= last for first, last in _FILLERS):
        return _UNDECIDED
    # Punctuation and symbols; bars and line separators among them; what is no character at all.
    other = _SEPARATOR if category[0] in "PSZ" or category in ("Co", "Cn", "Cs") else character
    return _LOOKS.get(category, other)


class _Marks(dict[int, str]):
    """Raised, lowered and framed letters and digits, which may be marks beside a name."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind, _, _ = unicodedata.decomposition(character).partition(" ")
        is_framed = kind.startswith("<") and unicodedata.category(character)[0] in "NS"
        is_mark = is_framed or kind in ("<super>", "<sub>")
        self[code] = _SEPARATOR if is_mark else character
        return self[code]


_looks = _Looks()
_marks = _Marks()


def are_in(lines: Iterable[str]) -> bool:
    """Whether a line of a table names the forbidden column."""
    is_first = True
    header: list[str] = []
    for line in lines:
        if not line.strip():
            continue
        if not header and _is_plainly_harmless(line):
            is_first = False
            continue
        readings = _readings(line)
        if header and any(_is_below(header, reading) for reading in readings):
            return True
        header = [_COUNT.sub("", reading) for reading in readings if _NAME in reading]
        for reading in header:
            pieces = reading.split(_SEPARATOR)
            if is_first and "," not in line:
                # No separator that is sure: what stands between blanks may be a column.
                pieces += reading.replace(_SEPARATOR, " ").split()
            if any(_is_column(piece) for piece in pieces):
                return True
        is_first = False
    return False


def _is_plainly_harmless(line: str) -> bool:
    """Most lines are, and cost little: nothing in them is invisible or like another letter."""
    is_as_seen = line.isascii() and line.rstrip("\r\n").isprintable()
    return is_as_seen and _NAME not in line.lower()


def _readings(line: str) -> list[str]:
    """The line in small letters, separators as one: more than once where it can be read so."""
    if "\x1b" in line:
        line = _COLOUR.sub("", line)
    texts = [line]
    if not line.isascii():
        apart = line.translate(_marks)
        texts = [
            unicodedata.normalize("NFKD", text).casefold() for text in dict.fromkeys((line, apart))
        ]
    readings = []
    for text in texts:
        seen = text.lower().translate(_looks)
        readings.append(seen.replace(_UNDECIDED, ""))
        if _UNDECIDED in seen:
            readings.append(_APART.sub(_NAME, seen).replace(_UNDECIDED, _SEPARATOR))
    return [reading.strip(_SEPARATOR) for reading in readings]


def _is_column(piece: str) -> bool:
    # Not one expression: a hostile line could make that try its parts in all ways.
    before, name, after = piece.strip(_TRIMMINGS + ".").rpartition(_NAME)
    is_renamed = before.rstrip(_TRIMMINGS).endswith(_BEFORE)
    return bool(name) and (not before or is_renamed) and _AFTER.fullmatch(after) is not None


def _is_below(header: list[str], row: str) -> bool:
    """Whether a line is a row of a table that the line above it heads, by a separator of both."""
    if not any(character.isdigit() for character in row):
        return False
    for names in header:
        words = _WORD.findall(names)
        # One more: R names no column for the names of rows.
        if len(_WORD.findall(row)) in (len(words), len(words) + 1) and any(map(_is_column, words)):
            return True
        if _SEPARATOR in names:
            continue
        for separator in _UNCERTAIN:
            if names.count(separator) == row.count(separator) and any(
                map(_is_column, names.split(separator))
            ):
                return True
    return False
