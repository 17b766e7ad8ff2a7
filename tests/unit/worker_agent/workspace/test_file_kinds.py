"""Each type of file at the gate to level 4 proves what it is."""

import codecs
import gzip
import io
import struct
import tarfile
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agent.workspace import plain_text
from worker_agent.workspace.level4 import Level4Limits, Level4Verdict, decide
from worker_agent.workspace.level4_texts import Problem
from worker_agent.workspace.plain_text import Controls

pytestmark = pytest.mark.unit

TEXTS = (".csv", ".txt", ".log", ".md", ".json", ".html")
LIMITS = Level4Limits(
    max_filesize=16 * 1024 * 1024,
    max_csv_rows=5000,
    file_types=(*TEXTS, ".svg", ".svgz", ".png", ".jpg", ".jpeg"),
)
NOT_IMAGE = "File is not the image that its name says"
NOT_SVG = "File is not a compressed SVG image"


def verdict_on(content: bytes, name: str) -> Level4Verdict:
    return decide(io.BytesIO(content), f"output/{name}", LIMITS)


def archive() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a.csv"))
    return held.getvalue()


# --- text ---

DATA = {
    "OLE2 spreadsheet": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16),
    "SAS": bytes(12) + b"\xc2\xea\x81\x60\xb3\x14\x11\xcf\xbd\x92\x08\x00\x09\xc7\x31\x8c",
    "SAS transport": b"HEADER RECORD*******LIBRARY HEADER RECORD!!!!!!!" + b"0" * 30 + b"\x00\x02",
    "old Stata": b"\x72\x02\x01\x00\x02\x00\x03\x00\x00\x00",
    "dBase": b"\x03\x5f\x07\x1a\x02\x00\x00\x00\x41\x00",
    "Access": b"\x00\x01\x00\x00Standard Jet DB\x00",
    "MATLAB": b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + b" " * 78 + bytes(8) + b"\x00\x01IM",
    "tar": archive(),
    "ORC": b"ORC\x08\x03\x10\x02\x1a",
    "zip behind a line of text": b"results follow\nPK\x03\x04\x14\x00\x00\x00",
    "gzip behind a line of text": b"results follow\n" + gzip.compress(b"patient_id\n1\n", mtime=0),
    "data behind a byte-order mark": codecs.BOM_UTF16_LE + b"\x00\x01\x00\x00",
}


@pytest.mark.parametrize("suffix", [*TEXTS, ".svg"])
@pytest.mark.parametrize("content", DATA.values(), ids=DATA)
def test_data_of_programs_do_not_pass_as_text(content: bytes, suffix: str) -> None:
    verdict = verdict_on(content, f"a{suffix}")
    assert verdict.excluded
    assert "Please" in verdict.message_file


@pytest.mark.parametrize("suffix", TEXTS)
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a\tb\r\nc\fd\be\n",
        b"\x1b[31mred\x1b[0m \x1b[1;38;5;208mbold\x1b[m\n",
        "na\u00efve \u2013 \u20ac\n".encode(),
        "na\u00efve\n".encode("latin-1"),
        "na\u00efve \u2013 \u20ac\n".encode("cp1252"),
        "\ufeffna\u00efve\n".encode("utf-16-le"),
        "\ufeffna\u00efve\n".encode("utf-16-be"),
        "\ufeffna\u00efve\n".encode("utf-32-le"),
        "\ufeffna\u00efve\n".encode("utf-32-be"),
        codecs.BOM_UTF8,
        codecs.BOM_UTF16_LE,
        codecs.BOM_UTF16_BE,
    ],
    ids=ascii,
)
def test_text_in_a_known_encoding_passes(content: bytes, suffix: str) -> None:
    assert verdict_on(content, f"a{suffix}").message is None


@pytest.mark.parametrize("code", [*range(1, 8), 0x0B, *range(0x0E, 0x20), *range(0x7F, 0xA0)])
def test_no_other_control_character_is_text(code: int) -> None:
    verdict = verdict_on(f"a{chr(code)}b\n".encode(), "a.txt")
    assert verdict.message == "File contains control characters"
    in_table = verdict_on(f"a{chr(code)}b\n".encode(), "a.csv")
    assert in_table.excluded is (code not in (*range(0x1C, 0x20), 0x85))


@pytest.mark.parametrize(
    "content", [b"\x1b[2Ja\n", b"\x1b]0;title\x07", b"a\x1b", b"a\x1b[", b"a\x1b[31", b"\x1b[3\n1m"]
)
def test_other_sequences_than_colours_are_control_characters(content: bytes) -> None:
    assert verdict_on(content, "a.log").message == "File contains control characters"


@pytest.mark.parametrize("before", range(64 * 1024 - 6, 64 * 1024 + 1))
def test_a_colour_is_one_wherever_chunks_end(before: int) -> None:
    assert verdict_on(b"x" * before + b"\x1b[31mred\x1b[0m", "a.log").message is None


def test_a_control_character_is_found_behind_the_first_chunk_and_in_the_last_bytes() -> None:
    assert verdict_on(b"x" * 200_000 + b"\x07", "a.txt").excluded
    assert verdict_on(b"x" * 200_000 + b"\0", "a.txt").message == "File contains NUL bytes"


@pytest.mark.parametrize("suffix", TEXTS)
@pytest.mark.parametrize(
    "content",
    sorted(
        {
            mark[:size]
            for mark in (codecs.BOM_UTF8, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_LE)
            for size in range(1, len(mark))
        }
        - {codecs.BOM_UTF16_LE}
    ),
    ids=ascii,
)
def test_a_file_that_is_a_part_of_a_byte_order_mark_never_passes_unread(
    content: bytes, suffix: str
) -> None:
    assert verdict_on(content, f"a{suffix}").excluded


@pytest.mark.parametrize("left", [b"", b"x"])
def test_a_decoder_that_leaves_input_behind_has_not_read_the_file(
    monkeypatch: pytest.MonkeyPatch, left: bytes
) -> None:
    class Waiting(codecs.IncrementalDecoder):
        def decode(self, data: object, final: bool = False) -> str:
            return ""

        def getstate(self) -> tuple[bytes, int]:
            return left, 0

    monkeypatch.setattr(codecs, "getincrementaldecoder", lambda encoding: Waiting)
    found = plain_text.encoding_of(io.BytesIO(b"text"), Controls.OF_TEXT)
    assert found == (Problem.NOT_TEXT if left else "utf-8")


@given(st.binary(max_size=300))
def test_whatever_passes_as_text_is_read_to_its_last_byte(content: bytes) -> None:
    found = plain_text.encoding_of(io.BytesIO(content), Controls.OF_TEXT)
    if not isinstance(found, Problem):
        assert content.decode(found).encode(found) == content


def test_a_large_text_is_not_held() -> None:
    content = "na\u00efve\n".encode("latin-1") * 1_000_000
    tracemalloc.start()
    try:
        decide(io.BytesIO(content), "a.txt", LIMITS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(content) + 2 * 2**20, "a chunk, beside the copy held here"


# --- images ---

SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><g/></svg>"


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


PNG = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"IDAT", b"x") + chunk(b"IEND")
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(20) + b"\xff\xd9"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", PNG),
        ("a.jpg", JPEG),
        ("a.jpeg", JPEG),
        ("a.svg", SVG),
        ("a.svg", b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- R -->\n" + SVG + b"\n<!-- end -->\n"),
        ("a.svg", b"<!DOCTYPE svg>" + SVG + b" " * 60_000),
        ("a.svg", b"<svg width='1'/>\n"),
        ("a.svg", f"\ufeff{SVG.decode()}\n".encode("utf-16-le")),
    ],
    ids=range(8),
)
def test_an_image_passes(name: str, content: bytes) -> None:
    assert verdict_on(content, name).message is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((f"a{suffix}", b"") for suffix in (".png", ".jpg", ".jpeg", ".svg")),
        *((f"a{suffix}", b"patient_id\n1\n") for suffix in (".png", ".jpg", ".jpeg", ".svg")),
        ("a.png", JPEG),
        ("a.jpg", PNG),
        ("a.png", PNG[:-1]),
        ("a.png", PNG[:-12]),
        ("a.png", PNG + b"x"),
        ("a.png", PNG + b"patient_id\n" + chunk(b"IEND")),
        ("a.png", PNG[:8] + chunk(b"IEND")),
        ("a.png", PNG[:8] + chunk(b"IDAT", b"x") + chunk(b"IEND")),
        ("a.png", PNG[:-12] + chunk(b"IHDR", bytes(13)) + chunk(b"IEND")),
        ("a.png", PNG[:8] + b"\xff\xff\xff\xffIHDR"),
        ("a.jpg", JPEG[:-1]),
        ("a.jpg", JPEG + b"patient_id\n"),
        ("a.jpg", b"\xff\xd8"),
        ("a.svg", b"x" + SVG),
        ("a.svg", SVG + b"patient_id\n1\n"),
        ("a.svg", b"<!-- a picture -->"),
        ("a.svg", b"<html></svg>"),
        ("a.svg", b"<svga></svg>"),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_what_does_not_begin_and_end_as_its_image_is_excluded(name: str, content: bytes) -> None:
    verdict = verdict_on(content, name)
    assert verdict.message == NOT_IMAGE
    assert "is not an image of the type that its name says" in verdict.message_file


def test_an_image_that_is_compressed_says_that_it_is() -> None:
    assert verdict_on(gzip.compress(SVG), "a.svg").message == (
        "File contains compressed or packed data"
    )


def compressed(flags: int, fields: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    body = deflate.compress(SVG) + deflate.flush()
    trailer = struct.pack("<II", zlib.crc32(SVG), len(SVG))
    return b"\x1f\x8b\x08" + bytes([flags]) + bytes(6) + fields + body + trailer


@pytest.mark.parametrize("name", [b"a.svg", b"fig_1-b.svgz", b"x" * 100 + b".svg"])
def test_a_compressed_image_may_have_its_own_name(name: bytes) -> None:
    assert verdict_on(compressed(8, name + b"\0"), "a.svgz").message is None


@pytest.mark.parametrize(
    "content",
    [
        compressed(4, b"\x0a\x00patient_id"),
        compressed(16, b"patient_id,age\0"),
        compressed(8, b"patient 1001, 34.svg\0"),
        compressed(8, b"patient_id\0"),
        compressed(8, b"x" * 101 + b".svg\0"),
        compressed(8, b".svg\0"),
        compressed(8 | 16, b"a.svg\0patient_id\0"),
        compressed(8 | 4, b"\x0a\x00patient_ida.svg\0"),
        gzip.compress(SVG + b"patient_id\n1\n"),
    ],
    ids=range(9),
)
def test_nothing_is_hidden_around_a_compressed_image(content: bytes) -> None:
    assert verdict_on(content, "a.svgz").message == NOT_SVG
