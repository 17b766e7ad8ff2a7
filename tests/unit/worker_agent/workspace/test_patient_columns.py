"""The column of patients: each example of the specification, and whatever a table is dressed in."""

import codecs
import io
import re
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from worker_agent.workspace import patient_columns
from worker_agent.workspace.level4 import Level4Limits, Level4Verdict, decide

pytestmark = pytest.mark.unit

SPECIFICATION = Path(__file__).parents[4] / "docs" / "spec" / "agent.md"
LIMITS = Level4Limits(max_filesize=16 * 1024 * 1024, max_csv_rows=5000, file_types=(".csv",))
PATIENT = "File has patient_id column"


def examples() -> list[tuple[str, bool]]:
    """The lines of the table in docs/spec/agent.md 9.6, and whether they name the column."""
    rows = re.findall(r"^\| `(.+)` \| (yes|no) \| .+ \|$", SPECIFICATION.read_text(), re.MULTILINE)
    return [
        (re.sub(r"\\u([0-9a-f]{4})|\\t", lambda code: character(code[1]), line), answer == "yes")
        for line, answer in rows
    ]


def character(code: str | None) -> str:
    return chr(int(code, 16)) if code else "\t"


def verdict_on(content: bytes) -> Level4Verdict:
    return decide(io.BytesIO(content), "output/a.csv", LIMITS)


@pytest.mark.parametrize(("line", "is_found"), examples(), ids=ascii)
def test_each_example_of_the_specification(line: str, is_found: bool) -> None:
    assert verdict_on(f"{line}\n".encode()).message == (PATIENT if is_found else None)


def test_the_specification_has_examples_of_both() -> None:
    assert {is_found for _, is_found in examples()} == {True, False}


@pytest.mark.parametrize(
    "table",
    [
        "Table 1\n\npatient_id age\n1 34\n",
        'Table 1\n\n"patient_id" "n, total"\n"1" 1001 3\n',
        "Table, 1\npatient_id-age\n1-34\n",
        "Table, 1\npatient_id%age\n1%34\n",
        "patient_id=age\n1=34\n",
        "patient_id.age\n1.34\n",
        "patient_id$age\n1$34\n",
        "patient_id>age\n1>34\n",
        "patient_id\x01age\n1\x0134\n",
        "\x1b[1mpatient_id\x1b[0m,age\n1,34\n",
        "\x1b[1mpatient\x1b[0m_id,age\n1,34\n",
        '"df"."patient_id",age\n1,34\n',
        "[df].[patient_id],age\n1,34\n",
        "(patient_id,age)\n(1,34)\n",
        "patient_id\u115f,age\n",
        "patient_id\ufe0f\U000e0001,age\n",
        "patient_id\U000e0fff,age\n",
        "patient_id\u2800age\n",
        "patient_id\u01c0age\n",
        "patient_id\u2016age\n",
        "patient_id\u2029age\n",
        "patient_id\ue000age\n",
        "patient_id\u2460,age\n",
        "patient_id.x.1,age\n",
        "patient_id.,age\n",
        "patient_id\u1d43,age\n",
        "Table 1\n\npatient_id age\n\n1 34\n",
        "age\u200bpatient_id\n34\u200b1\n",
        "age\u200bpat\u200bient_id\n34\u200b1\n",
        "\u24df\u24d0\u24e3\u24d8\u24d4\u24dd\u24e3_\u24d8\u24d3,age\n",
        "\u1d56atient_id,age\n",
        "age\u2105patient_id\n",
    ],
    ids=ascii,
)
def test_the_column_is_found_where_only_the_next_line_or_a_property_tells(table: str) -> None:
    assert patient_columns.are_in(io.StringIO(table, newline=""))


@pytest.mark.parametrize(
    "table",
    [
        "a,b\n1,2\nNote: the patient_id is not shown\n",
        "a,b\n1,2\nNote: the patient_id is hidden\nRates for 1000\n",
        "a,b\n1,2\nthe patient_id column\nwe never show\n",
        "region,n-patient_id\nNorth-East,2\n",
        "a,b\n1,2\npatient_id was dropped\n\n",
        "region\ncount of patient_id\n",
    ],
)
def test_a_note_about_the_column_is_no_column(table: str) -> None:
    assert not patient_columns.are_in(io.StringIO(table, newline=""))


@pytest.mark.parametrize(
    "line",
    [
        "x" * 2**20 + "(patient_id",
        "x" + "." * 2**20 + "patient_idx",
        "f(" * 2**19 + "patient_idx",
        '"' * (2**20 + 1) + "patient_idx",
        "patient_id" + "_1" * 2**19 + "z",
        "patient_id" * 2**17 + "z",
    ],
    ids=lambda line: line[:12],
)
def test_a_line_made_to_be_slow_is_decided_in_one_pass(line: str) -> None:
    # One that tries all ways would not end in this test's lifetime.
    assert not patient_columns.are_in([f"{line},\n", "1,2\n"])


SEPARATORS = [
    *",;\t|:^~/&#\\!@*+?\x1c\x1d\x1e\x1f\x0c\x85 ",
    "\u2028",
    "\u2029",
    "\u2502",
    "\u00a6",
]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1", "cp1252"]
TITLES = ["", "Table 1\n\n", "Table 1: rates, by region\n", "Caf\u00e9\n", "a,b\n1,2\n\n"]
NAMES = [
    "patient_id",
    "PATIENT_ID",
    "patient_id_x",
    "df$patient_id",
    "t1__patient_id",
    '"patient_id"',
]
WORDS = st.text("abcdefgh", min_size=1, max_size=6)


def rendered(header: list[str], title: str, separator: str, encoding: str) -> bytes:
    row = [str(number) for number, _ in enumerate(header)]
    text = title + "".join(f"{separator.join(record)}\n" for record in (header, row, row))
    return text.encode(encoding)


@given(
    st.lists(WORDS, min_size=1, max_size=4),
    st.integers(0, 4),
    st.sampled_from(NAMES),
    st.sampled_from(TITLES),
    st.sampled_from(SEPARATORS),
    st.sampled_from(ENCODINGS),
)
@example(["age"], 0, "patient_id", "Caf\u00e9\n", "\u00a6", "latin-1")
@example(["age"], 0, "patient_id", "Table 1\n\n", " ", "utf-16")
def test_a_table_with_the_column_is_excluded_and_without_it_passes(
    others: list[str], place: int, name: str, title: str, separator: str, encoding: str
) -> None:
    header = [*others[:place], name, *others[place:]]
    try:
        with_column = rendered(header, title, separator, encoding)
        without = rendered(others, title, separator, encoding)
    except UnicodeEncodeError:
        assume(False)
    assume((separator, encoding) not in (("\x85", "latin-1"), ("\x85", "cp1252")))
    verdict = verdict_on(with_column)
    # Quotes beside a separator that no program uses with them are no quotes to anybody.
    assert verdict.excluded if '"' in name else verdict.message == PATIENT
    assert not verdict_on(without).excluded


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_a_file_that_names_the_wrong_encoding_is_searched_as_the_bytes_it_has(mark: bytes) -> None:
    content = mark + b"\npatient_id,age\n1,34\n"
    assert verdict_on(content + b"\n" * (len(content) % 2)).message == PATIENT


def test_a_mark_of_the_other_order_of_bytes_hides_nothing() -> None:
    content = codecs.BOM_UTF16_LE + "patient_id,age\n1,34\n".encode("utf-16-be")
    assert verdict_on(content).excluded


def test_a_letter_of_another_code_page_is_a_separator() -> None:
    assert verdict_on(b"patient_id\xe9age\n1\xe934\n").message == PATIENT


def test_a_bar_of_another_code_page_is_a_separator() -> None:
    assert verdict_on("patient_id\u2502age\n1\u250234\n".encode("cp437")).message == PATIENT
