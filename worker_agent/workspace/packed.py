"""Packed content at the gate to level 4: what nobody can look into is not shown (agent.md 9.6).

A table keeps its patients when it is compressed, or saved in a format for programs, and named like
a text. So a file that begins as such formats do is excluded whatever its name says. The one type
that is meant to be compressed, ``.svgz``, has to hold what it promises. Memory is bounded by one
chunk.
"""

import re
import zlib
from typing import BinaryIO

_SIGNATURES = re.compile(
    rb"\x1f[\x8b\x9d\xa0]"  # gzip, compress, pack
    rb"|PK(?:\x03\x04|\x05\x06|\x07\x08)"  # zip, and so xlsx, docx, npz
    rb"|BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)"
    rb"|\xfd7zXZ\x00|\x5d\x00\x00|LZIP|\x04\x22\x4d\x18|\x28\xb5\x2f\xfd|7z\xbc\xaf\x27\x1c|Rar!\x1a\x07"
    rb"|PAR1\x15|PARE\x15|ARROW1\x00\x00|FEA1\x00|\x89HDF\r\n|SQLite format 3\x00|Obj\x01"
    rb"|RD[AX][23]\n|<stata_dta>|\$FL[23]@|\x93NUMPY|\x80[\x02-\x05]."
)
"""How compressed files, and data files of programs, begin."""
_LONGEST_SIGNATURE = 16
_CHUNK = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!DOCTYPE|!--|svg)", re.IGNORECASE)
_SVG_ROOT = re.compile(rb"<svg[\s>]", re.IGNORECASE)


def is_packed(file: BinaryIO) -> bool:
    """Whether a file begins as compressed files, or data files of programs, do.

    Raises:
        OSError: it cannot be read.
    """
    file.seek(0)
    beginning = file.read(_LONGEST_SIGNATURE)
    file.seek(0)
    return _SIGNATURES.match(beginning) is not None


def is_compressed_svg(file: BinaryIO, most: int) -> bool:
    """Whether a file is one compressed SVG image, and nothing else.

    Args:
        file: read from its start.
        most: bytes that the image may have.

    Raises:
        OSError: it cannot be read.
    """
    file.seek(0)
    inflating = zlib.decompressobj(_GZIP)
    size, beginning = 0, b""
    try:
        while not inflating.eof:
            chunk = inflating.unconsumed_tail or file.read(_CHUNK)
            if not chunk:
                return False  # it ends too early
            piece = inflating.decompress(chunk, _CHUNK)
            size += len(piece)
            if size > most:
                return False
            if len(beginning) < _CHUNK:
                beginning += piece
    except zlib.error:
        return False
    # What follows the image would be shown to nobody, and released with it.
    complete = not inflating.unused_data and not file.read(1)
    is_svg = _SVG.match(beginning) is not None and _SVG_ROOT.search(beginning) is not None
    return complete and is_svg
