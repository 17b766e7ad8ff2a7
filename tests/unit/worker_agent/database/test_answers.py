"""Only the listed words leave the backend as the answer of a database check."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from rap.egress import DatabaseStatus, DataCheckStatus, Fault
from rap.errors import PermanentFault
from worker_agent.database.answers import (
    DATA_CHECK_ANSWERS,
    STATUS_ANSWERS,
    data_check_finding,
    status_finding,
)

pytestmark = pytest.mark.unit

MAINTENANCE, AVAILABLE = DatabaseStatus.MAINTENANCE, DatabaseStatus.AVAILABLE


@pytest.mark.spec("agent:144")
@pytest.mark.parametrize(
    ("line", "status", "count"),
    [
        ("", AVAILABLE, None),
        ("db-maintenance", MAINTENANCE, None),
        ("db-maintenance;0", MAINTENANCE, 0),
        ("db-maintenance;1", MAINTENANCE, 1),
        ("db-maintenance;2", MAINTENANCE, 2),
        ("none;0", AVAILABLE, 0),
        ("none;1", AVAILABLE, 1),
        ("none;2", AVAILABLE, 2),
    ],
)
def test_each_allowed_answer_is_a_status_and_a_build_count(
    line: str, status: DatabaseStatus, count: int | None
) -> None:
    finding = status_finding(line.encode())
    assert (finding.status, finding.build_count) == (status, count)


@pytest.mark.spec("agent:144")
def test_every_allowed_answer_is_told_above() -> None:
    assert len(STATUS_ANSWERS) == len(set(STATUS_ANSWERS)) == 8


@pytest.mark.spec("agent:148")
@pytest.mark.parametrize("word", ["OK", "FAILED"])
def test_the_data_check_answers_ok_or_failed(word: str) -> None:
    assert data_check_finding(f"{word}\n".encode()) is DataCheckStatus(word)


@pytest.mark.spec("agent:145")
@given(
    before=st.binary(max_size=200),
    answer=st.sampled_from(STATUS_ANSWERS[1:]),
    indent=st.sampled_from([b"", b" ", b"\t "]),
    after=st.text(" \t\r\n", max_size=5),
)
def test_lines_before_the_last_and_blanks_around_it_do_not_matter(
    before: bytes, answer: str, indent: bytes, after: str
) -> None:
    output = before + b"\n" + indent + answer.encode() + after.encode()
    assert status_finding(output) == status_finding(answer.encode())


@pytest.mark.spec("agent:146")
@given(st.one_of(st.binary(max_size=100), st.text(max_size=50).map(str.encode)))
def test_any_other_answer_is_refused_without_being_repeated(output: bytes) -> None:
    last = output.rstrip().rpartition(b"\n")[2].strip()
    assume(last not in {answer.encode() for answer in STATUS_ANSWERS})
    with pytest.raises(PermanentFault) as refused:
        status_finding(output)
    assert refused.value.fault is Fault.CHECK_ANSWER_REFUSED
    # The same words for whatever was refused.
    assert str(refused.value) == (
        "Invalid status, expected one of: '', 'db-maintenance', 'db-maintenance;0', "
        "'db-maintenance;1', 'db-maintenance;2', 'none;0', 'none;1', 'none;2'"
    )


@pytest.mark.spec("agent:146")
@pytest.mark.parametrize(
    "output",
    ["patient-4711", "none;3", "none", "db-maintenance;", "OK\nsecret", "\uff2f\uff2b", "ok", ""],
)
def test_an_answer_of_the_data_check_outside_its_list_is_refused(output: str) -> None:
    with pytest.raises(PermanentFault) as refused:
        data_check_finding(output.encode())
    assert refused.value.fault is Fault.CHECK_ANSWER_REFUSED
    assert str(refused.value) == "Invalid status, expected one of: 'OK', 'FAILED'"
    assert DATA_CHECK_ANSWERS == ("OK", "FAILED")
