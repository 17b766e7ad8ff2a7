"""Whole lines out of what an engine sends of a log. Pure.

An engine keeps lines above 16 KiB in pieces, and progress bars that never end their line as well.
It puts a time before each piece, the same for all pieces of a line, and some engines lose the
newline after the last. The pieces of one stream come between those of the other. Here every line
gets its time once, at its beginning, and is not broken by what the other stream said meanwhile:
that follows.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

PIECE_BYTES = 16 * 1024
"""A shorter piece is the last of its line."""
MOST_HELD = 2**20
"""Bytes of the other stream that are held back for a line to end; then it is broken off."""


class Frame(NamedTuple):
    """One piece, as the engine sends it."""

    stream: int
    """Which of the program's outputs it was written to."""
    content: bytes
    """A time, a space, and a line or a piece of one."""


def whole_lines(
    frames: Iterable[Frame], *, most_held: int = MOST_HELD, piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """The text of a log, in parts: each of its lines begins with one time."""
    last: Frame | None = None  # its end is that of the text, and no newline
    held: list[Frame] = []  # of the other stream
    size = 0
    for frame in frames:
        waiting = deque([frame])
        while waiting:
            piece = waiting.popleft()
            is_other = last is not None and piece.stream != last.stream
            if is_other and _goes_on(last, piece_bytes):
                held.append(piece)
                size += len(piece.content)
                if size <= most_held:
                    continue
                yield b"\n"
                last = None
            else:
                if last is None:
                    yield piece.content
                elif is_other or _time_of(piece) != _time_of(last):
                    yield b"\n" + piece.content
                else:
                    yield _text_of(piece)
                last = None if piece.content.endswith(b"\n") else piece
            if held and not _goes_on(last, piece_bytes):
                waiting.extendleft(reversed(held))
                held, size = [], 0
    if held:
        yield b"\n"
        yield from whole_lines(held, most_held=most_held, piece_bytes=piece_bytes)


def _goes_on(last: Frame | None, piece_bytes: int) -> bool:
    """Whether more of the line is to come, by all that can be known of its last piece."""
    return last is not None and len(_text_of(last)) >= piece_bytes


def _time_of(piece: Frame) -> bytes:
    return piece.content.partition(b" ")[0]


def _text_of(piece: Frame) -> bytes:
    return piece.content.partition(b" ")[2]
