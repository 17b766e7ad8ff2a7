"""Whether a file is what its name says (docs/spec/agent.md 9.6).

A table keeps its patients when it is compressed, or saved in a format for programs, and named like
a text or an image. So each type has to prove itself: text is text, an image begins and ends as such
and has nothing behind it. Memory is bounded by one chunk.
"""

import os
import re
import zlib
from typing import BinaryIO

from worker_agent.workspace import plain_text
from worker_agent.workspace.level4_texts import Problem
from worker_agent.workspace.plain_text import Controls

_SIGNATURES = re.compile(
    rb"\x1f[\x8b\x9d\xa0]"  # gzip, compress, pack
    rb"|PK(?:\x03\x04|\x05\x06|\x07\x08)"  # zip, and so xlsx, docx, npz
    rb"|BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)"
    rb"|\xfd7zXZ\x00|\x5d\x00\x00|LZIP|\x04\x22\x4d\x18|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07"
    rb"|PAR1\x15|PARE\x15|ARROW1\x00\x00|FEA1\x00|\x89HDF\r\n|SQLite format 3\x00|Obj\x01"
    rb"|RD[AX][23]\n|<stata_dta>|\$FL[23]@|\x93NUMPY|\x80[\x02-\x05].|\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
)
"""How compressed files, and data files of programs, begin: only for a reason that says so."""
_LONGEST_SIGNATURE = 16
_CHUNK = 64 * 1024

_GZIP = 16 + zlib.MAX_WBITS
_GZIP_HEADER = re.compile(
    rb"\x1f\x8b\x08(?:\x00.{6}|\x08.{6}[A-Za-z0-9_.-]{1,100}\.svgz?\x00)", re.DOTALL
)
"""No optional fields, which can hold anything, but for the image's own name, which is usual."""
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?\s*<(?:\?xml|!DOCTYPE|!--|svg)", re.IGNORECASE
)
_SVG_ROOT = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_SVG_END = re.compile(rb"(?:</svg\s*>|/>)(?:\s|<!--(?:[^-]|-[^-])*-->)*\Z", re.IGNORECASE)
_END = 4096

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_LAST = b"IEND"
_JPEG = b"\xff\xd8\xff"
_JPEG_END = b"\xff\xd9"


def problem(file: BinaryIO, suffix: str, most: int) -> Problem | None:
    """Why a file is not what its suffix says; ``.csv`` is left to who reads tables.

    An image may have so many bytes at most when it is unpacked.

    Raises:
        OSError: it cannot be read.
    """
    suffix = suffix.lower()
    if suffix == ".svgz":
        return None if _is_compressed_svg(file, most) else Problem.NOT_SVG
    if _is_compressed(file):
        return Problem.COMPRESSED
    if suffix == ".csv":
        return None
    if suffix in (".png", ".jpg", ".jpeg"):
        is_image = _is_png(file) if suffix == ".png" else _is_jpeg(file)
        return None if is_image else Problem.NOT_IMAGE
    encoding = plain_text.encoding_of(file, Controls.OF_TEXT)
    if isinstance(encoding, Problem):
        return encoding
    return Problem.NOT_IMAGE if suffix == ".svg" and not _is_plain_svg(file) else None


def _is_compressed(file: BinaryIO) -> bool:
    """Whether a file begins as compressed files, or data files of programs, do."""
    file.seek(0)
    return _SIGNATURES.match(file.read(_LONGEST_SIGNATURE)) is not None


def _is_png(file: BinaryIO) -> bool:
    """Whether a file is the chunks of one PNG image, from the first to the last."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    position = len(_PNG)
    if file.read(position) != _PNG:
        return False
    kind = b""
    while len(head := file.read(8)) == 8:
        is_first, kind = not kind, head[4:]
        if is_first != (kind == b"IHDR"):
            return False
        # A chunk: its length, its kind, what it holds, and a check of four bytes.
        position += 12 + int.from_bytes(head[:4], "big")
        if kind == _PNG_LAST:
            break
        file.seek(position)
    return kind == _PNG_LAST and position == size


def _is_jpeg(file: BinaryIO) -> bool:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    begins = file.read(len(_JPEG)) == _JPEG
    file.seek(max(size - len(_JPEG_END), 0))
    return begins and file.read() == _JPEG_END


def _is_plain_svg(file: BinaryIO) -> bool:
    """Whether a text begins and ends as an image does."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    beginning = file.read(_CHUNK)
    file.seek(max(size - _CHUNK, 0))
    # NULs: half of each letter in UTF-16, and in no other text.
    return _is_svg(beginning.replace(b"\0", b""), file.read().replace(b"\0", b""))


def _is_svg(beginning: bytes, end: bytes) -> bool:
    return (
        _SVG.match(beginning) is not None
        and _SVG_ROOT.search(beginning) is not None
        and _SVG_END.search(end.rstrip()[-_END:]) is not None
    )


def _is_compressed_svg(file: BinaryIO, most: int) -> bool:
    """Whether a file is one compressed SVG image of at most so many bytes, no more."""
    file.seek(0)
    chunk = file.read(_CHUNK)
    if _GZIP_HEADER.match(chunk) is None:
        return False
    inflating = zlib.decompressobj(_GZIP)
    size, beginning, end = 0, b"", b""
    try:
        while not inflating.eof:
            if not chunk:
                return False  # it ends too early
            piece = inflating.decompress(chunk, _CHUNK)
            size += len(piece)
            if size > most:
                return False
            if len(beginning) < _CHUNK:
                beginning += piece
            if piece.strip():
                end = (end + piece)[-2 * _CHUNK :]
            chunk = inflating.unconsumed_tail or file.read(_CHUNK)
    except zlib.error:
        return False
    # What follows the image would be shown to nobody, and released with it.
    complete = not inflating.unused_data and not chunk
    return complete and _is_svg(beginning, end)
