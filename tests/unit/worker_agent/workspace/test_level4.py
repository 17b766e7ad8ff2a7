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

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rap.models import JobDefinition, Study
from worker_agent.workspace.level4 import Level4Limits, check

pytestmark = pytest.mark.unit

LIMITS = Level4Limits(max_filesize=16 * 1024 * 1024, max_csv_rows=10, file_types=(".csv", ".txt"))
PATIENT = "File has patient_id column"


def verdict_on(content, name="output/foo.csv", **limits):
    content = content.encode() if isinstance(content, str) else content
    return check(io.BytesIO(content), name, LIMITS.model_copy(update=limits))


def rows(count):
    return "foo,bar\n" + "1,2\n" * count


# --- size and type ---


@pytest.mark.spec("agent:119")
def test_a_file_above_the_size_limit_is_excluded_with_both_messages():
    verdict = verdict_on(b"x" * (1024 * 1024 + 8000), "output/foo.txt", max_filesize=1024 * 1024)
    assert verdict.message == "File size of 1.01Mb is larger than limit of 1.0Mb."
    assert verdict.note == (
        "\nThe file:\n\noutput/foo.txt\n\n"
        "was 1.01Mb, which is above the limit for moderately_sensitive files of\n1.0Mb.\n\n"
        "As such, it has *not* been copied to Level 4 storage. Please double check that\n"
        "output/foo.txt contains only aggregate information, and is an appropriate size to\n"
        "be able to be output checked.\n"
    )


@pytest.mark.spec("agent:119")
def test_sizes_are_told_in_mebibytes():
    verdict = verdict_on(b"x" * (20 * 1024 * 1024 + 1))
    assert verdict.message == "File size of 20.0Mb is larger than limit of 16.0Mb."


@pytest.mark.spec("agent:120")
@pytest.mark.parametrize("size", [0, 99, 100])
def test_a_file_of_at_most_the_size_limit_passes(size):
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
def test_a_type_that_is_not_listed_is_excluded_whatever_is_in_it(name, suffix):
    verdict = verdict_on("harmless", name)
    assert verdict.message == f"File type of {suffix} is not valid level 4 file"
    assert verdict.note == (
        f"\nThe file:\n\n{name}\n\n"
        f"is of type {suffix}. This is not a valid file type for moderately_sensitive files.\n\n"
        "Level 4 files should be aggregate information easily viewable by output checkers.\n\n"
        "See available list of file types here: "
        "https://docs.opensafely.org/requesting-file-release/#allowed-file-types.\n"
    )


def test_size_and_type_stop_the_checks_of_the_content():
    assert verdict_on("patient_id\n" * 50, max_filesize=10).row_count is None
    assert PATIENT not in verdict_on("patient_id\n1\n", "foo.dta").short_messages


@pytest.mark.spec("agent:127")
def test_text_that_is_no_table_has_no_counts():
    verdict = verdict_on("a,b\n1,2\n", "foo.txt")
    assert (verdict.excluded, verdict.row_count, verdict.col_count) == (False, None, None)


# --- counting ---


@pytest.mark.spec("agent:123")
@pytest.mark.parametrize(("count", "excluded"), [(9, False), (10, False), (11, True)])
def test_the_row_limit_is_inclusive(count, excluded):
    verdict = verdict_on(rows(count))
    assert verdict.excluded is excluded
    assert (verdict.row_count, verdict.col_count) == (count, 2)


@pytest.mark.spec("agent:123")
def test_too_many_rows_are_told_with_their_number():
    verdict = verdict_on(rows(11))
    assert verdict.message == "File row count (11) exceeds maximum allowed rows (10)"
    assert verdict.note == (
        "\nThe file:\n\noutput/foo.csv\n\n"
        "contained 11 rows, which is above the limit for moderately_sensitive files of\n"
        "10 rows.\n\n"
        "As such, it has *not* been copied to Level 4 storage. Please contact tech-support for\n"
        "further assistance.\n"
    )


@pytest.mark.spec("agent:127")
@pytest.mark.parametrize("content", ["", "\n\n", "foo,bar", "foo,bar\n", "foo,bar\n\n\n"])
def test_an_empty_table_or_a_lone_header_counts_nothing_and_passes(content):
    verdict = verdict_on(content)
    assert (verdict.excluded, verdict.row_count, verdict.col_count) == (False, 0, 0)


def test_blank_lines_and_newlines_in_quotes_are_not_rows():
    verdict = verdict_on('foo,bar\n\n1,"a\nb\nc"\n\n\n2,d\n')
    assert (verdict.excluded, verdict.row_count, verdict.col_count) == (False, 2, 2)


def test_columns_of_one_name_count_once():
    assert verdict_on("foo,foo,bar\n1,2,3\n").col_count == 2


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_kind_of_line_end_counts(end):
    assert verdict_on(rows(3).replace("\n", end)).row_count == 3


# --- patient_id ---


@pytest.mark.spec("agent:122")
def test_a_patient_id_column_excludes_a_table_which_is_counted_all_the_same():
    verdict = verdict_on("patient_id,foo,bar\n1,2,3\n")
    assert verdict.message == PATIENT
    assert (verdict.row_count, verdict.col_count) == (1, 3)
    assert verdict.note == (
        "\nThe file:\n\noutput/foo.csv\n\n"
        "has not been made available in level 4 because it has a `patient_id` column.\n\n"
        "Patient level data is not allowed by policy in level 4.\n\n"
        "You should change this file's privacy to `highly_sensitive` in your\n"
        "project.yaml. Or, if it is aggregate data, you should remove the patient_id\n"
        "column from your data.\n\n"
    )


@pytest.mark.spec("agent:124")
def test_both_problems_of_a_table_are_told():
    verdict = verdict_on("patient_id\n" + "1\n" * 11)
    assert verdict.message == (f"{PATIENT},File row count (11) exceeds maximum allowed rows (10)")
    assert verdict.note == "\n\n".join(verdict.long_messages)
    assert len(verdict.long_messages) == 2


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
def test_the_forbidden_column_is_known_however_it_is_dressed(content):
    assert PATIENT in verdict_on(content).short_messages


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_forbidden_column_does_not_pass_in_another_encoding(encoding):
    assert verdict_on("patient_id,foo\n1,2\n".encode(encoding)).excluded


@pytest.mark.parametrize(
    "name", ["patient_ids", "n_patient_id", "patient_id_count", "id", "my patient_id is gone"]
)
def test_columns_that_only_resemble_it_pass(name):
    assert not verdict_on(f"{name},foo\n1,2\n").excluded


# --- fails closed ---


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("naïve,foo\n1,2\n".encode("latin-1"), "File is not valid UTF-8 text"),
        (b"foo,bar\n1,\xff\n", "File is not valid UTF-8 text"),
        (codecs.BOM_UTF16_LE + b"f\0o\0", "File is not valid UTF-8 text"),
        (b"foo,bar\n1,\x00\n", "File contains NUL bytes"),
        (b"foo,bar\n1," + b"x" * 131_073 + b"\n", "File is not a well-formed CSV file"),
        (b'foo,bar\n"1,2\n3,4\n', "File is not a well-formed CSV file"),
        (b'foo,bar\n"1"x,2\n', "File is not a well-formed CSV file"),
        (b"foo," * 600_000 + b"\n", "File has a line too long to check"),
        (b"foo,bar\n1,2,3\n", "File has rows with different numbers of columns"),
        (b"foo,bar\n1,2\n3\n", "File has rows with different numbers of columns"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_a_table_that_cannot_be_checked_is_excluded_with_the_reason(content, message):
    verdict = verdict_on(content)
    assert verdict.short_messages == (message,)
    (note,) = verdict.long_messages
    assert note.startswith("\nThe file:\n\noutput/foo.csv\n\n")
    assert note.endswith("\n")
    assert "*not* been copied to Level 4 storage" in note


def test_blanks_part_names_only_where_a_line_is_one_cell():
    assert verdict_on("the patient_id column\n1\n").message == PATIENT
    assert not verdict_on("foo\nthe patient_id column\n").excluded


def test_a_mention_does_not_cast_suspicion_on_later_records():
    assert not verdict_on('foo,bar\nmy patient_id,1\n"2",3\n').excluded


# --- packed content ---

PACKED = "File contains compressed or packed data"
ALL_TYPES = (".csv", ".txt", ".html", ".svg", ".svgz", ".md", ".log", ".json", ".png", ".gz")


def zipped(content=b"patient_id\n1\n"):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("a.csv", content)
    return held.getvalue()


@pytest.mark.parametrize("name", [f"foo{suffix}" for suffix in ALL_TYPES if suffix != ".svgz"])
@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"patient_id\n1\n"),
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
def test_packed_content_does_not_pass_under_any_name(content, name):
    verdict = verdict_on(content, name, file_types=ALL_TYPES)
    assert verdict.message == PACKED
    assert "contains compressed or packed data, so it could not be checked" in verdict.note


@pytest.mark.parametrize("content", [b"PAR1,foo\n1,2\n", b"PKs\n1\n", b"BZh,x\n1,2\n", b"RDX\n1\n"])
def test_text_that_begins_much_like_a_format_passes(content):
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
def test_a_compressed_image_passes(before):
    assert not verdict_on(gzip.compress(before + SVG), "a.svgz", file_types=ALL_TYPES).excluded


def test_a_compressed_image_may_be_as_large_as_any_file():
    image = SVG + b" " * (1_000_000 - len(SVG))
    packed = gzip.compress(image)
    assert not verdict_on(packed, "a.svgz", file_types=ALL_TYPES, max_filesize=1_000_000).excluded
    verdict = verdict_on(packed, "a.svgz", file_types=ALL_TYPES, max_filesize=999_999)
    assert verdict.message == "File is not a compressed SVG image"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        SVG,
        gzip.compress(b""),
        gzip.compress(b"patient_id\n1\n"),
        gzip.compress(b"<html><svg></svg></html>"),
        gzip.compress(b"<!-- patient_id -->"),
        gzip.compress(b"<?xml version='1.0'?><svga/>"),
        gzip.compress(b"x" + SVG),
        gzip.compress(SVG)[:-1],
        gzip.compress(SVG)[:-8] + bytes(8),
        gzip.compress(SVG) + b"x",
        gzip.compress(SVG) + gzip.compress(b"patient_id\n1\n"),
        gzip.compress(SVG + bytes(random.Random(1).randbytes(70_000))) + b"x" * 200_000,
        zlib.compress(SVG),
        bz2.compress(SVG),
    ],
    ids=range(15),
)
def test_what_is_not_one_compressed_image_is_excluded(content):
    verdict = verdict_on(content, "a.svgz", file_types=ALL_TYPES)
    assert verdict.message == "File is not a compressed SVG image"
    assert "is not a compressed SVG image, or is one that is too large" in verdict.note


def test_a_small_file_that_unpacks_to_a_giant_is_not_unpacked_to_its_end():
    giant = gzip.compress(SVG + bytes(300 * 2**20), 1)
    asked = []

    class Counting(io.BytesIO):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    tracemalloc.start()
    try:
        check(Counting(giant), "a.svgz", LIMITS.model_copy(update={"file_types": (".svgz",)}))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 < sum(asked) < len(giant) / 2
    assert peak < len(giant) + 2 * 2**20, "memory is bounded by a chunk, beside the copy held here"


@pytest.mark.parametrize("name", ["a.csv", "a.svgz", "a.txt"])
def test_a_file_whose_beginning_cannot_be_read_is_excluded(name):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError(5, "Input/output error")

    verdict = check(Failing(b"foo\n"), name, LIMITS.model_copy(update={"file_types": ALL_TYPES}))
    assert verdict.short_messages == ("File could not be read",)


def test_the_longest_line_that_is_checked_has_two_mebibytes():
    line = b"1," * (1024 * 1024 - 1) + b"1\n"
    assert not verdict_on(line).excluded
    assert verdict_on(b"2" + line).message == "File has a line too long to check"


def test_a_table_that_could_not_be_parsed_to_its_end_has_no_counts():
    verdict = verdict_on(b'foo,bar\n1,2\n"3')
    assert (verdict.row_count, verdict.col_count) == (None, None)


def test_the_forbidden_column_is_told_even_when_the_rest_cannot_be_read():
    verdict = verdict_on(b"patient_id,foo\n" + b"1,2\n" * 5000 + b"1,\xff\n")
    assert verdict.short_messages == (PATIENT, "File is not valid UTF-8 text")


def test_rows_hidden_behind_an_open_quote_do_not_pass():
    assert verdict_on('foo\n"' + "1\n" * 100).excluded


def test_a_byte_order_mark_alone_is_no_offence():
    verdict = verdict_on("\ufefffoo,bar\n1,2\n")
    assert (verdict.excluded, verdict.row_count) == (False, 1)


@pytest.mark.parametrize("name", ["foo.csv", "foo.txt"])
def test_a_file_that_cannot_be_read_is_excluded(name):
    class Broken(io.BytesIO):
        def seek(self, *args):
            raise OSError(5, "Input/output error")

    verdict = check(Broken(b"foo\n"), name, LIMITS)
    assert verdict.short_messages == ("File could not be read",)


def test_a_table_that_stops_being_readable_is_excluded():
    class Failing(io.BytesIO):
        def read1(self, *args):
            raise OSError(5, "Input/output error")

        read = readinto = readinto1 = read1

    assert check(Failing(b"foo\n"), "foo.csv", LIMITS).message == "File could not be read"


def test_a_csv_type_in_capitals_is_still_looked_into_when_it_is_allowed():
    assert verdict_on("patient_id\n1\n", "foo.CSV", file_types=(".CSV",)).message == PATIENT


def test_the_gate_leaves_the_file_open_for_its_caller():
    file = io.BytesIO(b"foo,bar\n1,2\n")
    check(file, "foo.csv", LIMITS)
    assert not file.closed


def test_the_limits_are_those_of_the_job():
    definition = JobDefinition(
        id="j",
        rap_id="r",
        repo_url="u",
        commit="c",
        study=Study(git_repo_url="u", commit="c", branch="b"),
        workspace="w",
        action="a",
        created_at=0,
        image="i",
        level4_max_filesize=1,
        level4_max_csv_rows=2,
        level4_file_types=(".md",),
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
@example(codecs.BOM_UTF8 + b"PATIENT_ID")
def test_whatever_passes_is_decodable_rectangular_short_and_without_the_column(content):
    verdict = verdict_on(content)
    if verdict.excluded:
        assert len(verdict.long_messages) == len(verdict.short_messages) > 0
        return
    text = content.decode("utf-8-sig")
    assert "\0" not in text
    records = [record for record in csv.reader(io.StringIO(text, newline="")) if record]
    assert len({len(record) for record in records}) <= 1
    assert max(len(records) - 1, 0) == verdict.row_count <= LIMITS.max_csv_rows
    cells = [cell.strip().strip("\"' ").lower() for record in records for cell in record]
    assert "patient_id" not in cells


@given(TABLES)
def test_a_table_written_by_the_csv_module_is_counted_as_it_was_written(table):
    # A mark at the very start is taken for the file's, and a NUL is never counted.
    table = [[cell.replace("\0", "").replace("\ufeff", "") for cell in row] for row in table]
    assert verdict_on(written(table)).row_count == max(len(table) - 1, 0)


@given(st.integers(0, 2**32))
def test_a_harmless_table_with_one_cell_forbidden_anywhere_is_excluded(seed):
    chance = random.Random(seed)
    table = [[f"c{x}{y}" for x in range(3)] for y in range(5)]
    disguise = chance.choice(["patient_id", "PATIENT_ID", " patient_id", '"patient_id"'])
    table[chance.randrange(5)][chance.randrange(3)] = disguise
    assert PATIENT in verdict_on(written(table)).short_messages


def written(table):
    text = io.StringIO(newline="")
    csv.writer(text).writerows(table)
    return text.getvalue().encode()
