"""The tables of tests/cases/tables at the gate to level 4: what each is, and what becomes of it."""

import io
from pathlib import Path

import pytest

from worker_agent.workspace.level4 import Level4Limits, Level4Verdict, decide

pytestmark = pytest.mark.unit

CASES = Path(__file__).parents[3] / "cases" / "tables"
LIMITS = Level4Limits(max_filesize=16 * 1024 * 1024, max_csv_rows=5000, file_types=(".csv", ".txt"))
SHOWN = {
    "titled.csv": (2, 2),
    "footnote.csv": (2, 2),
    "two-tables.csv": (3, 3),
    "row-names.csv": (2, 3),
    "trailing-commas.csv": (2, 3),
    "short-last-row.csv": (2, 3),
    "tabs-with-comma.csv": (4, None),
    "latin1.csv": (1, 2),
    "utf16.csv": (1, 1),
    "quote-in-field.csv": (1, 2),
    "counts-people.csv": (2, 4),
}
"""Rows after the first record, and columns of the widest one where the separator is certain."""
PATIENTS = (
    *("patient-below-title", "patient-latin1", "patient-utf16", "patient-in-second-table"),
    *("patient-joined", "patient-of-frame", "patient-of-table"),
    *("patient-tilde", "patient-unit-separator", "patient-filler"),
)
EXCLUDED = {
    **{f"{name}.csv": "File has patient_id column" for name in PATIENTS},
    "packed-as.txt": "File contains NUL bytes",
    "sheet-as.txt": "File contains compressed or packed data",
    "half-bom.csv": "File is not valid UTF-8 text",
    "open-quote.csv": "File is not a well-formed CSV file",
    "nul.csv": "File contains NUL bytes",
}


def verdict_on(name: str) -> Level4Verdict:
    return decide(io.BytesIO((CASES / name).read_bytes()), f"output/{name}", LIMITS)


@pytest.mark.parametrize(("name", "counts"), SHOWN.items())
def test_a_table_as_programs_write_them_is_shown_and_counted(
    name: str, counts: tuple[int, int | None]
) -> None:
    verdict = verdict_on(name)
    assert verdict.message is None
    assert (verdict.row_count, verdict.col_count) == counts


@pytest.mark.parametrize(("name", "reason"), EXCLUDED.items())
def test_a_file_of_patients_or_of_what_nobody_can_read_is_excluded_with_what_to_do(
    name: str, reason: str
) -> None:
    verdict = verdict_on(name)
    assert verdict.message == reason
    assert "Please" in verdict.message_file or "You should" in verdict.message_file


def test_every_case_has_its_value_and_its_line_in_the_table() -> None:
    names = {path.name for path in CASES.iterdir()} - {"README.md"}
    assert names == SHOWN.keys() | EXCLUDED.keys()
    table = (CASES / "README.md").read_text()
    assert [name for name in sorted(names) if f"`{name}`" not in table] == []
