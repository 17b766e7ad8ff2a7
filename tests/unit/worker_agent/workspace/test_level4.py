"""The gate to level 4: what passes, what does not, and what its author is told."""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import pickle
import random
import tracemalloc
import zipfile
import zlib
from typing import Any, Never

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.factories import job_definition
from worker_agent.workspace.level4 import Level4Limits, Level4Verdict, decide

pytestmark = pytest.mark.unit

LIMITS = Level4Limits(max_filesize=16 * 1024 * 1024, max_csv_rows=10, file_types=(".csv", ".txt"))
PATIENT = "File has patient_id column"


def short(verdict: Any) -> Any:
    return tuple(message.short for message in verdict.messages)


def long(verdict: Any) -> Any:
    return tuple(message.long for message in verdict.messages)


def verdict_on(content: bytes | str, name: str = "output/foo.csv", **limits: Any) -> Level4Verdict:
    content = content.encode() if isinstance(content, str) else content
    return decide(io.BytesIO(content), name, LIMITS.model_copy(update=limits))


def rows(count: int) -> str:
    return "foo,bar\n" + "1,2\n" * count


# --- size and type ---


@pytest.mark.spec("agent:119")
def test_a_file_above_the_size_limit_is_excluded_with_both_messages() -> None:
    verdict = verdict_on(b"x" * (1024 * 1024 + 8000), "output/foo.txt", max_filesize=1024 * 1024)
    assert verdict.message == "File size of 1.01Mb is larger than limit of 1.0Mb."
    assert verdict.message_file == (
        "\nThe file:\n\noutput/foo.txt\n\n"
        "was 1.01Mb, which is above the limit for moderately_sensitive files of\n1.0Mb.\n\n"
        "As such, it has *not* been copied to Level 4 storage. Please double check that\n"
        "output/foo.txt contains only aggregate information, and is an appropriate size to\n"
        "be able to be output checked.\n"
    )


@pytest.mark.spec("agent:119")
def test_sizes_are_told_in_mebibytes() -> None:
    verdict = verdict_on(b"x" * (20 * 1024 * 1024 + 1))
    assert verdict.message == "File size of 20.0Mb is larger than limit of 16.0Mb."


@pytest.mark.spec("agent:120")
@pytest.mark.parametrize("size", [0, 99, 100])
def test_a_file_of_at_most_the_size_limit_passes(size: int) -> None:
    assert not verdict_on(b"x" * size, "foo.txt", max_filesize=100).excluded


@pytest.mark.spec("agent:121")
@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("output/foo.exe", ".exe"),
        ("output/foo.TXT", ".TXT"),
        ("output/a.csv.gz", ".gz"),
        ("output/noext", ""),
        ("output.csv/noext", ""),
        (".csv", ""),
        ("trailing.", ""),
        ("output/foo.csv ", ".csv "),
    ],
)
def test_a_type_that_is_not_listed_is_excluded_whatever_is_in_it(name: str, suffix: str) -> None:
    verdict = verdict_on("harmless", name)
    assert verdict.message == f"File type of {suffix} is not valid level 4 file"
    assert verdict.message_file == (
        f"\nThe file:\n\n{name}\n\n"
        f"is of type {suffix}. This is not a valid file type for moderately_sensitive files.\n\n"
        "Level 4 files should be aggregate information easily viewable by output checkers.\n\n"
        "See available list of file types here: "
        "https://docs.opensafely.org/requesting-file-release/#allowed-file-types.\n"
    )


def test_size_and_type_stop_the_checks_of_the_content() -> None:
    assert verdict_on("patient_id\n" * 50, max_filesize=10).row_count is None
    assert PATIENT not in short(verdict_on("patient_id\n1\n", "foo.dta"))


@pytest.mark.spec("agent:127")
def test_text_that_is_no_table_has_no_counts() -> None:
    verdict = verdict_on("a,b\n1,2\n", "foo.txt")
    assert (verdict.excluded, verdict.row_count, verdict.col_count) == (False, None, None)


# --- counting ---


@pytest.mark.spec("agent:123")
@pytest.mark.parametrize(("count", "excluded"), [(9, False), (10, False), (11, True)])
def test_the_row_limit_is_inclusive(count: int, excluded: bool) -> None:
    verdict = verdict_on(rows(count))
    assert verdict.excluded is excluded
    assert (verdict.row_count, verdict.col_count) == (count, 2)


@pytest.mark.spec("agent:123")
def test_too_many_rows_are_told_with_their_number() -> None:
    verdict = verdict_on(rows(11))
    assert verdict.message == "File row count (11) exceeds maximum allowed rows (10)"
    assert verdict.message_file == (
        "\nThe file:\n\noutput/foo.csv\n\n"
        "contained 11 rows, which is above the limit for moderately_sensitive files of\n"
        "10 rows.\n\n"
        "As such, it has *not* been copied to Level 4 storage. Please contact tech-support for\n"
        "further assistance.\n"
    )


@pytest.mark.spec("agent:127")
@pytest.mark.parametrize("content", ["", "\n\n", "foo,bar", "foo,bar\n", "foo,bar\n\n\n"])
def test_an_empty_table_or_a_lone_header_counts_nothing_and_passes(content: str) -> None:
    verdict = verdict_on(content)
    assert (verdict.excluded, verdict.row_count, verdict.col_count) == (False, 0, 0)


def test_blank_lines_and_newlines_in_quotes_are_not_rows() -> None:
    verdict = verdict_on('foo,bar\n\n1,"a\nb\nc"\n\n\n2,d\n')
    assert (verdict.excluded, verdict.row_count, verdict.col_count) == (False, 2, 2)


def test_columns_of_one_name_count_once() -> None:
    assert verdict_on("foo,foo,bar\n1,2,3\n").col_count == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_counts(end: str) -> None:
    assert verdict_on(rows(3).replace("\n", end)).row_count == 3


# --- patient_id ---


@pytest.mark.spec("agent:122")
def test_a_patient_id_column_excludes_a_table_which_is_counted_all_the_same() -> None:
    verdict = verdict_on("patient_id,foo,bar\n1,2,3\n")
    assert verdict.message == PATIENT
    assert (verdict.row_count, verdict.col_count) == (1, 3)
    assert verdict.message_file == (
        "\nThe file:\n\noutput/foo.csv\n\n"
        "has not been made available in level 4 because it has a `patient_id` column.\n\n"
        "Patient level data is not allowed by policy in level 4.\n\n"
        "You should change this file's privacy to `highly_sensitive` in your\n"
        "project.yaml. Or, if it is aggregate data, you should remove the patient_id\n"
        "column from your data.\n\n"
    )


@pytest.mark.spec("agent:124")
def test_both_problems_of_a_table_are_told() -> None:
    verdict = verdict_on("patient_id\n" + "1\n" * 11)
    assert verdict.message == (f"{PATIENT},File row count (11) exceeds maximum allowed rows (10)")
    assert verdict.message_file == "\n\n".join(long(verdict))
    assert len(long(verdict)) == 2


@pytest.mark.parametrize(
    "content",
    [
        "patient_id\n",
        "PATIENT_ID,foo\n1,2\n",
        "Patient_Id,foo\n1,2\n",
        "foo, patient_id \n1,2\n",
        "foo,\tpatient_id\n1,2\n",
        '"patient_id","foo"\n1,2\n',
        'foo, "patient_id"\n1,2\n',
        "'patient_id',foo\n1,2\n",
        "“patient_id”,foo\n1,2\n",
        "\u00a0patient_id,foo\n1,2\n",
        "patient\u200b_id,foo\n1,2\n",
        "\uff50atient\uff3fid,foo\n1,2\n",
        "\ufeffpatient_id,foo\n1,2\n",
        "\ufeff\ufeffpatient_id,foo\n1,2\n",
        "\n\npatient_id,foo\n1,2\n",
        "My title,\npatient_id,foo\n1,2\n",
        "foo,bar\n1,2\npatient_id,4\n",
        "patient_id;foo\n1;2\n",
        "foo\tpatient_id\n1\t2\n",
        "foo|patient_id|bar\n1|2|3\n",
        'foo,"patient_id\n1\n2\n3"\n1,2\n',
        "patient_id\r1\r",
        "[patient_id],foo\n1,2\n",
        '="patient_id",foo\n1,2\n',
        "# patient_id,foo\n1,2\n",
        "patient_id.x,foo\n1,2\n",
        "df.patient_id,foo\n1,2\n",
        "patient_id age\n1 2\n",
        "age  patient_id\n1 2\n",
        "patient\x08_id,foo\n1,2\n",
        "patient_id\ufe0f,foo\n1,2\n",
        "patient_id\u0323,foo\n1,2\n",
        "PAT\u0130ENT_ID,foo\n1,2\n",
        "\u2039patient_id\u203a,foo\n1,2\n",
        "gr\u00f6\u00dfe,patient_id\n1,2\n",
        "foo,bar\n\u00e4,patient_id\n1,2\n",
    ],
    ids=ascii,
)
def test_the_forbidden_column_is_known_however_it_is_dressed(content: str) -> None:
    assert PATIENT in short(verdict_on(content))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_forbidden_column_does_not_pass_in_another_encoding(encoding: str) -> None:
    assert verdict_on("patient_id,foo\n1,2\n".encode(encoding)).excluded


@pytest.mark.parametrize(
    "name", ["patient_ids", "n_patient_id", "patient_id_count", "id", "my patient_id is gone"]
)
def test_columns_that_only_resemble_it_pass(name: str) -> None:
    assert not verdict_on(f"{name},foo\n1,2\n").excluded


# --- fails closed ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"foo,bar\n1,\x81\n", "File is not valid UTF-8 text"),
        (codecs.BOM_UTF8 + "naïve,foo\n1,2\n".encode("latin-1"), "File is not valid UTF-8 text"),
        (codecs.BOM_UTF16_LE + b"f\0o\0o", "File is not valid UTF-8 text"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8f\0", "File is not valid UTF-8 text"),
        ("foo,bar\n1,2\n".encode("utf-16-le"), "File contains NUL bytes"),
        (codecs.BOM_UTF16_LE + "foo\0".encode("utf-16-le"), "File contains NUL bytes"),
        (b"foo,bar\n1,\x1a\n", "File contains control characters"),
        (b"foo,bar\n1,\x00\n", "File contains NUL bytes"),
        (
            b"foo,bar\n1," + b"x" * 131_073 + b"\n",
            "File has a field above 131,072 characters",
        ),
        (b'foo,bar\n"1,2\n3,4\n', "File is not a well-formed CSV file"),
        (b'foo,bar\n"1"x,2\n', "File is not a well-formed CSV file"),
        (b"foo," * 600_000 + b"\n", "File has a line too long to check"),
        (b'foo,bar\n1,"2\n3,4\n', "File is not a well-formed CSV file"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_table_that_cannot_be_checked_is_excluded_with_the_reason(
    content: bytes, message: str
) -> None:
    verdict = verdict_on(content)
    assert short(verdict) == (message,)
    (text,) = long(verdict)
    assert text.startswith("\nThe file:\n\noutput/foo.csv\n\n")
    assert text.endswith("\n")
    assert "*not* been copied to Level 4 storage" in text


def test_blanks_part_names_only_where_a_line_is_one_cell() -> None:
    assert verdict_on("the patient_id column\n1\n").message == PATIENT
    assert not verdict_on("foo\nthe patient_id column\n").excluded


def test_a_mention_does_not_cast_suspicion_on_later_records() -> None:
    assert not verdict_on('foo,bar\nmy patient_id,1\n"2",3\n').excluded


# --- compressed content ---

COMPRESSED = "File contains compressed or packed data"
ALL_TYPES = (".csv", ".txt", ".html", ".svg", ".svgz", ".md", ".log", ".json", ".png", ".gz")


def zipped(content: bytes = b"patient_id\n1\n") -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a.csv", content)
    return held.getvalue()


@pytest.mark.parametrize("name", [f"foo{suffix}" for suffix in ALL_TYPES if suffix != ".svgz"])
@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"patient_id\n1\n", mtime=0),
        bz2.compress(b"patient_id\n1\n"),
        bz2.compress(b""),
        lzma.compress(b"patient_id\n1\n"),
        lzma.compress(b"patient_id\n1\n", lzma.FORMAT_ALONE),
        zipped(),
        b"PK\x05\x06" + bytes(18),
        b"\x28\xb5\x2f\xfd\x04\x00",
        b"\x04\x22\x4d\x18\x64",
        b"7z\xbc\xaf\x27\x1c\x00",
        b"Rar!\x1a\x07\x01\x00",
        b"PAR1\x15\x04",
        b"ARROW1\x00\x00",
        b"FEA1\x00\x00\x00\x00",
        b"\x89HDF\r\n\x1a\n",
        b"SQLite format 3\x00",
        b"RDX3\nX\n",
        b"RDA2\nA\n",
        b"<stata_dta><header>",
        b"$FL2@(#) SPSS",
        b"\x93NUMPY\x01\x00",
        pickle.dumps(["patient_id"]),
        b"\x1f\x9d\x90",
    ],
    ids=lambda content: ascii(content[:8]),
)
def test_compressed_content_does_not_pass_under_any_name(content: bytes, name: str) -> None:
    verdict = verdict_on(content, name, file_types=ALL_TYPES)
    assert verdict.message == COMPRESSED
    assert "contains compressed or packed data, so it could not be checked" in verdict.message_file


@pytest.mark.parametrize("content", [b"PAR1,foo\n1,2\n", b"PKs\n1\n", b"BZh,x\n1,2\n", b"RDX\n1\n"])
def test_text_that_begins_much_like_a_format_passes(content: bytes) -> None:
    assert not verdict_on(content).excluded


SVG = b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"


@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"\xef\xbb\xbf",
        b"\n ",
        b"<?xml version='1.0'?>\n",
        b"<!-- made by R -->",
        b"<!DOCTYPE svg>",
    ],
)
def test_a_compressed_image_passes(before: bytes) -> None:
    assert not verdict_on(gzip.compress(before + SVG), "a.svgz", file_types=ALL_TYPES).excluded


def test_a_compressed_image_may_be_as_large_as_any_file() -> None:
    image = SVG + b" " * (1_000_000 - len(SVG))
    compressed = gzip.compress(image)
    assert not verdict_on(
        compressed, "a.svgz", file_types=ALL_TYPES, max_filesize=1_000_000
    ).excluded
    verdict = verdict_on(compressed, "a.svgz", file_types=ALL_TYPES, max_filesize=999_999)
    assert verdict.message == "File is not a compressed SVG image"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        SVG,
        gzip.compress(b"", mtime=0),
        gzip.compress(b"patient_id\n1\n", mtime=0),
        gzip.compress(b"<html><svg></svg></html>", mtime=0),
        gzip.compress(b"<!-- patient_id -->", mtime=0),
        gzip.compress(b"<?xml version='1.0'?><svga/>", mtime=0),
        gzip.compress(b"x" + SVG, mtime=0),
        gzip.compress(SVG, mtime=0)[:-1],
        gzip.compress(SVG)[:-8] + bytes(8),
        gzip.compress(SVG) + b"x",
        gzip.compress(SVG) + gzip.compress(b"patient_id\n1\n"),
        gzip.compress(SVG + bytes(random.Random(1).randbytes(70_000))) + b"x" * 200_000,
        zlib.compress(SVG),
        bz2.compress(SVG),
    ],
    ids=range(15),
)
def test_what_is_not_one_compressed_image_is_excluded(content: bytes) -> None:
    verdict = verdict_on(content, "a.svgz", file_types=ALL_TYPES)
    assert verdict.message == "File is not a compressed SVG image"
    assert "is not a compressed SVG image, or is one that is too large" in verdict.message_file


def test_a_small_file_that_unpacks_to_a_giant_is_not_unpacked_to_its_end() -> None:
    giant = gzip.compress(SVG + bytes(300 * 2**20), 1)
    asked: list[int] = []

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            asked.append(size)
            return super().read(size)

    tracemalloc.start()
    try:
        decide(Counting(giant), "a.svgz", LIMITS.model_copy(update={"file_types": (".svgz",)}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 < sum(asked) < len(giant) / 2
    assert peak < len(giant) + 2 * 2**20, "memory is bounded by a chunk, beside the copy held here"


@pytest.mark.parametrize("name", ["a.csv", "a.svgz", "a.txt"])
def test_a_file_whose_beginning_cannot_be_read_is_excluded(name: str) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> Never:
            raise OSError(5, "Input/output error")

    verdict = decide(Failing(b"foo\n"), name, LIMITS.model_copy(update={"file_types": ALL_TYPES}))
    assert short(verdict) == ("File could not be read",)


def test_the_longest_line_that_is_checked_has_two_mebibytes() -> None:
    line = b"1," * (1024 * 1024 - 1) + b"1\n"
    assert not verdict_on(line).excluded
    assert verdict_on(b"2" + line).message == "File has a line too long to check"


def test_a_table_that_could_not_be_parsed_to_its_end_has_no_counts() -> None:
    verdict = verdict_on(b'foo,bar\n1,2\n"3')
    assert (verdict.row_count, verdict.col_count) == (None, None)


def test_the_forbidden_column_is_told_even_when_the_rest_cannot_be_read() -> None:
    verdict = verdict_on(b"patient_id,foo\n" + b"1,2\n" * 5000 + b"1,\x81\n")
    assert short(verdict) == (PATIENT, "File is not valid UTF-8 text")


def test_the_forbidden_column_is_told_even_above_a_line_too_long_to_check() -> None:
    verdict = verdict_on(b"patient_id,foo\n" + b"foo," * 600_000 + b"\n")
    assert short(verdict) == (PATIENT, "File has a line too long to check")


def test_rows_hidden_behind_an_open_quote_do_not_pass() -> None:
    assert verdict_on('foo\n"' + "1\n" * 100).excluded


def test_a_byte_order_mark_alone_is_no_offence() -> None:
    verdict = verdict_on("\ufefffoo,bar\n1,2\n")
    assert (verdict.excluded, verdict.row_count) == (False, 1)


@pytest.mark.parametrize("name", ["foo.csv", "foo.txt"])
def test_a_file_that_cannot_be_read_is_excluded(name: str) -> None:
    class Broken(io.BytesIO):
        def seek(self, *args: int) -> Never:
            raise OSError(5, "Input/output error")

    verdict = decide(Broken(b"foo\n"), name, LIMITS)
    assert short(verdict) == ("File could not be read",)


def test_a_table_that_stops_being_readable_is_excluded() -> None:
    class Failing(io.BytesIO):
        def fail(self, *args: Any) -> Never:
            raise OSError(5, "Input/output error")

        read = readinto = readinto1 = read1 = fail

    assert decide(Failing(b"foo\n"), "foo.csv", LIMITS).message == "File could not be read"


def test_a_csv_type_in_capitals_is_still_looked_into_when_it_is_allowed() -> None:
    assert verdict_on("patient_id\n1\n", "foo.CSV", file_types=(".CSV",)).message == PATIENT


def test_the_gate_leaves_the_file_open_for_its_caller() -> None:
    file = io.BytesIO(b"foo,bar\n1,2\n")
    decide(file, "foo.csv", LIMITS)
    assert not file.closed


def test_the_limits_are_those_of_the_job() -> None:
    definition = job_definition(
        level4_max_filesize=1, level4_max_csv_rows=2, level4_file_types=(".md",)
    )
    assert Level4Limits.of(definition) == Level4Limits(
        max_filesize=1, max_csv_rows=2, file_types=(".md",)
    )


# --- properties ---

CELLS = st.one_of(
    st.sampled_from(["patient_id", "Patient_ID ", "foo", "", "1", "a\nb", 'q"q', "x;y", "\ufeff"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)
TABLES = st.lists(st.lists(CELLS, min_size=1, max_size=3), max_size=14)


@given(st.binary(max_size=200) | TABLES.map(lambda table: written(table)))
@example(b"patient_id")
@example(b"\xef\xbb")
@example(codecs.BOM_UTF8 + b"PATIENT_ID")
@example(codecs.BOM_UTF16_LE + b"p\0")
def test_whatever_passes_is_decodable_short_and_without_the_column(content: bytes) -> None:
    verdict = verdict_on(content)
    if verdict.excluded:
        assert len(long(verdict)) == len(short(verdict)) > 0
        return
    text = decoded(content)
    assert "\0" not in text
    records = [record for record in csv.reader(io.StringIO(text, newline="")) if record]
    assert max(len(records) - 1, 0) == verdict.row_count <= LIMITS.max_csv_rows
    cells = [cell.strip().strip("\"' ").lower() for record in records for cell in record]
    assert "patient_id" not in cells


def decoded(content: bytes) -> str:
    """As a program would that knows the encoding."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-32" if content.startswith(codecs.BOM_UTF32_LE) else "utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252")


@given(TABLES)
def test_a_table_written_by_the_csv_module_is_counted_as_it_was_written(table: list[Any]) -> None:
    # A mark at the very start is taken for the file's; control characters are never counted.
    table = [
        ["".join(c for c in cell if c >= " " and not "\x7f" <= c <= "\x9f") for cell in row]
        for row in table
    ]
    table = [[cell.replace("\ufeff", "") for cell in row] for row in table]
    assert verdict_on(written(table)).row_count == max(len(table) - 1, 0)


@given(st.integers(0, 2**32))
def test_a_harmless_table_with_one_cell_forbidden_anywhere_is_excluded(seed: int) -> None:
    chance = random.Random(seed)
    table = [[f"c{x}{y}" for x in range(3)] for y in range(5)]
    disguise = chance.choice(["patient_id", "PATIENT_ID", " patient_id", '"patient_id"'])
    table[chance.randrange(5)][chance.randrange(3)] = disguise
    assert PATIENT in short(verdict_on(written(table)))


def written(table: list[Any]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table)
    return text.getvalue().encode()
