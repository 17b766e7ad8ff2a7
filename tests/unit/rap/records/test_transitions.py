"""What a change does to the record of a job (docs/spec/controller.md 4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from rap.egress import Metrics
from rap.records import StoredJob
from rap.records.transitions import advance, born
from rap.rows import JobChange
from rap.status import FINAL_CODES, RESET_CODES, StatusCode
from tests.support.records import CREATED_AT, change, job_row, rap_id

pytestmark = pytest.mark.unit

RAP = rap_id()
T = CREATED_AT
RUNNING = [
    StatusCode.INITIATED,
    StatusCode.PREPARING,
    StatusCode.PREPARED,
    StatusCode.EXECUTING,
    StatusCode.EXECUTED,
    StatusCode.FINALIZING,
]


def step(code: StatusCode, at: float, attempt: int = 1, **values: object) -> JobChange:
    return change(RAP, "analyse", code, at, attempt, **values)


def after(*changes: JobChange) -> StoredJob:
    life = born(job_row(RAP))
    for each in changes:
        life = advance(life, each)
    return life


@pytest.mark.spec("controller:36", "rap-api:94")
def test_a_new_job_is_created_and_has_neither_begun_nor_ended() -> None:
    life = after()
    assert (life.status_code, life.status_code.state.value) == (StatusCode.CREATED, "pending")
    assert life.status_message == "Created"
    assert (life.started_at, life.completed_at, life.metrics) == (None, None, {})
    assert life.updated_at == T


@pytest.mark.spec("rap-api:99", "rap-api:100", "controller:115")
def test_the_start_is_that_of_the_first_running_stage_through_all_later_ones() -> None:
    life = born(job_row(RAP))
    for number, code in enumerate(RUNNING):
        life = advance(life, step(code, T + 10 + number))
        assert life.started_at == T + 10
        assert life.status_code.state.value == "running"


@pytest.mark.spec("controller:113")
def test_a_stage_keeps_the_message_of_a_running_job() -> None:
    assert {after(step(code, T + 1)).status_message for code in RUNNING} == {
        "Job executing on the backend"
    }


@pytest.mark.spec("controller:116")
def test_a_change_takes_the_time_it_is_reported_with() -> None:
    life = after(step(StatusCode.PREPARED, T + 5.25))
    assert life.updated_at == T + 5
    assert life.status_code_updated_at == (T + 5) * 10**9 + 250_000_000


@pytest.mark.spec("controller:119")
def test_a_time_before_the_last_change_becomes_one_millisecond_after_it() -> None:
    life = after(step(StatusCode.PREPARING, T + 9), step(StatusCode.PREPARED, T + 3))
    assert life.status_code is StatusCode.PREPARED
    assert life.status_code_updated_at == (T + 9) * 10**9 + 1_000_000


@pytest.mark.spec("controller:120")
def test_stages_may_be_skipped() -> None:
    life = after(step(StatusCode.INITIATED, T + 1), step(StatusCode.EXECUTING, T + 2))
    assert life.status_code is StatusCode.EXECUTING


@pytest.mark.spec("controller:117")
def test_a_report_without_change_is_a_sign_of_life_once_a_minute() -> None:
    begun = after(step(StatusCode.EXECUTING, T))
    soon = advance(begun, step(StatusCode.EXECUTING, T + 59))
    late = advance(begun, step(StatusCode.EXECUTING, T + 61))
    assert soon.updated_at == T
    assert late.updated_at == T + 61
    assert late.status_code_updated_at == begun.status_code_updated_at


def test_a_report_without_change_brings_new_measurements_also_from_a_slow_clock() -> None:
    begun = after(step(StatusCode.PREPARING, T + 50), step(StatusCode.EXECUTING, T + 10))
    measured = advance(begun, step(StatusCode.EXECUTING, T + 10, metrics=Metrics(cpu_mean=2.0)))
    assert measured.metrics["cpu_mean"] == 2.0
    assert measured.updated_at == begun.updated_at


@pytest.mark.parametrize("code", sorted(RESET_CODES))
def test_a_reset_clears_the_start_and_the_next_start_sets_another(code: StatusCode) -> None:
    begun = step(StatusCode.EXECUTING, T + 10, metrics=Metrics(cpu_mean=7.0))
    waiting = after(begun, step(code, T + 20, attempt=2))
    assert (waiting.started_at, waiting.status_code.state.value) == (None, "pending")
    assert waiting.metrics["cpu_mean"] == 7.0, "kept until the retry starts"
    again = advance(waiting, step(StatusCode.INITIATED, T + 30, attempt=2))
    assert (again.started_at, again.metrics) == (T + 30, {})


@pytest.mark.spec("controller:148")
def test_a_late_stage_of_an_earlier_attempt_changes_nothing() -> None:
    waiting = after(
        step(StatusCode.EXECUTING, T + 10), step(StatusCode.WAITING_ON_REBOOT, T + 20, attempt=2)
    )
    assert advance(waiting, step(StatusCode.EXECUTED, T + 25, attempt=1)) is waiting
    assert advance(waiting, step(StatusCode.SUCCEEDED, T + 25, attempt=1)) is waiting


@pytest.mark.spec("rap-api:113")
@given(
    final=st.sampled_from(sorted(FINAL_CODES)),
    code=st.sampled_from(list(StatusCode)),
    attempt=st.integers(1, 999),
    later=st.floats(0, 1e6),
)
def test_nothing_changes_a_finished_job(
    final: StatusCode, code: StatusCode, attempt: int, later: float
) -> None:
    ended = after(step(StatusCode.EXECUTING, T + 1), step(final, T + 2))
    assert advance(ended, step(code, T + 2 + later, attempt=attempt)) is ended


@pytest.mark.spec("controller:145")
def test_a_cancelled_job_ended_when_its_cancel_was_asked_for() -> None:
    life = after(
        step(StatusCode.EXECUTING, T + 10),
        step(StatusCode.CANCELLED_BY_USER, T + 30, completed_at=T + 28.5),
    )
    assert (life.started_at, life.completed_at, life.updated_at) == (T + 10, T + 28, T + 30)
    assert (life.status_code.state.value, life.status_message) == ("failed", "Cancelled by user")


def test_a_job_cancelled_before_it_started_has_an_end_and_no_start() -> None:
    life = after(step(StatusCode.CANCELLED_BY_USER, T + 30, completed_at=T + 29.0))
    assert (life.started_at, life.completed_at) == (None, T + 29)


def test_a_job_killed_with_a_far_attempt_number_keeps_its_start() -> None:
    life = after(
        step(StatusCode.EXECUTING, T + 10), step(StatusCode.KILLED_BY_ADMIN, T + 30, attempt=999)
    )
    assert (life.started_at, life.completed_at) == (T + 10, T + 30)


@given(end=st.floats(-100, 100), start=st.integers(0, 50))
def test_no_job_ends_before_it_starts(end: float, start: int) -> None:
    life = after(
        step(StatusCode.EXECUTING, T + start),
        step(StatusCode.CANCELLED_BY_USER, T + 60, completed_at=T + end),
    )
    assert life.started_at is not None
    assert life.completed_at is not None
    assert life.completed_at >= life.started_at


@st.composite
def lives(draw: st.DrawFn) -> list[JobChange]:
    """All changes of one job, in the order in which they happened."""
    changes, at = [], float(T)

    def then(code: StatusCode, attempt: int) -> None:
        nonlocal at
        at += draw(st.floats(0.001, 100))
        changes.append(step(code, at, attempt, message=f"{attempt} {code.value}"))

    attempts = draw(st.integers(1, 4))
    for attempt in range(1, attempts + 1):
        if attempt > 1:
            then(draw(st.sampled_from(sorted(RESET_CODES))), attempt)
        if draw(st.booleans()):
            then(StatusCode.WAITING_ON_WORKERS, attempt)
        for code in RUNNING:
            if draw(st.booleans()):
                then(code, attempt)
    then(draw(st.sampled_from(sorted(FINAL_CODES))), attempts)
    return changes


@given(lives(), st.data())
def test_any_order_and_repetition_of_the_writes_of_a_life_ends_alike(
    changes: list[JobChange], data: DataObject
) -> None:
    in_order = after(*changes)
    writes = [change for change in changes for _ in range(data.draw(st.integers(1, 3)))]
    mixed = after(*data.draw(st.permutations(writes)))
    told = ("attempt", "version", "status_code", "status_message", "completed_at", "updated_at")
    assert [getattr(mixed, name) for name in told] == [getattr(in_order, name) for name in told]


@given(lives(), st.data())
def test_repeating_writes_that_were_made_changes_nothing(
    changes: list[JobChange], data: DataObject
) -> None:
    life = born(job_row(RAP))
    for number, each in enumerate(changes, 1):
        life = advance(life, each)
        for repeated in data.draw(st.lists(st.sampled_from(changes[:number]), max_size=3)):
            assert advance(life, repeated) is life


@given(lives(), st.data())
def test_the_place_in_a_life_never_moves_back(changes: list[JobChange], data: DataObject) -> None:
    life = born(job_row(RAP))
    for each in data.draw(st.permutations(changes)):
        advanced = advance(life, each)
        assert advanced.version >= life.version
        assert advanced.status_code_updated_at >= life.status_code_updated_at
        life = advanced
