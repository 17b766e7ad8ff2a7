"""How far a fetch is, as git says while it goes on. For the log, never for a decision. Pure."""

import re
from dataclasses import dataclass

_MEASURED = re.compile(
    rb"(?:Receiving|Unpacking) objects: +([0-9]{1,3})% \([0-9]+/[0-9]+\)"
    rb"(?:, ([0-9.]+ (?:bytes|KiB|MiB|GiB)))?"
)


@dataclass(frozen=True, slots=True)
class Progress:
    """The last word of git about a fetch that goes on."""

    percent: int
    """Of the objects, whatever their size."""
    received: str
    """Such as ``5.20 MiB``; blank until git has measured."""


def progress_in(said: bytes) -> Progress | None:
    """The last progress in what git has said so far; ``None`` before the first object came."""
    found = [*_MEASURED.finditer(said)]
    if not found:
        return None
    return Progress(int(found[-1][1]), (found[-1][2] or b"").decode("ascii"))


def without_progress(said: bytes) -> bytes:
    """What git has said, each of its lines that it wrote over as it was in the end."""
    return b"\n".join(line.rstrip(b"\r").rpartition(b"\r")[2] for line in said.split(b"\n"))
