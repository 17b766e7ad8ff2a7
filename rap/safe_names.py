"""Names of actions: which are refused, and the form that is safe wherever a name could do harm.

Studies name their actions as they like, and what can run, runs. Only names that mislead whoever
reads them are refused. Pure.
"""

import hashlib
import re

LONGEST_NAME = 1000
"""Bytes."""

_SAFE = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,200}")
_UNSAFE_CHARACTER = re.compile(r"^\.|[^A-Za-z0-9._-]")
_KEPT = 100
_INVISIBLE = "\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0"
"""Characters that Unicode counts as letters or marks, and that show nothing."""


def safe_name(name: str) -> str:
    """A form of a name for labels and files: letters, digits and ``._-``, never two names' own.

    A safe name is its own form. Of another the start is kept, and the digest of the whole tells it
    from those that look alike.
    """
    if _SAFE.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{_UNSAFE_CHARACTER.sub('_', name)[:_KEPT]}-{digest[:8]}"


def what_misleads(name: str) -> str | None:
    """Why a name of an action is refused, as the end of a sentence; ``None`` if it is not."""
    if not name.strip():
        return "is blank"
    if visible(name) != name:
        return "contains characters that cannot be seen"
    if ".." in name.split("/"):
        return "contains '..' elements"
    if len(name.encode()) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME:,} bytes"
    return None


def visible(text: str) -> str:
    """A text with escapes for all that has no look of its own, or that changes that of others."""
    return "".join(map(_visible_character, text))


def _visible_character(character: str) -> str:
    if character.isprintable() and character not in _INVISIBLE:
        return character
    return character.encode("unicode_escape").decode()
