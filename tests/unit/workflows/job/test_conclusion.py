"""From the end of an attempt to the status of its job: docs/spec/controller.md 11."""

from typing import Any

import pytest

from rap.egress import TRANSIENT_FAULTS, Ending, ExitNote, Fault, Interruption, JobOutcome
from rap.messages.jobs import AttemptResult, StopReason
from rap.sentences import FAULT_SENTENCES, INTERRUPTION_SENTENCES
from rap.status import StatusCode
from workflows.job.conclusion import LONGEST_PAUSE_S, MAX_FAULTS, Conclusion, conclude, that_count

pytestmark = pytest.mark.unit


def ended(
    exit_code: int | None = 0,
    stopped: StopReason | None = None,
    requires_db: bool = False,
    faults: int = 0,
    attempt: int = 1,
    interruptions: int = 0,
    **facts: Any,
) -> Conclusion:
    facts = {"ending": Ending.COMPLETED, "exit_code": exit_code, "task_id": "j-001", **facts}
    result = AttemptResult(outcome=JobOutcome(**facts), stopped=stopped)
    return conclude(
        result,
        requires_db=requires_db,
        faults=faults,
        attempt=attempt,
        interruptions=interruptions,
    )


@pytest.mark.spec("controller:121")
def test_exit_zero_succeeds() -> None:
    assert (ended().code, ended().message) == (StatusCode.SUCCEEDED, "Completed successfully")


@pytest.mark.spec("controller:122", "rap-api:102")
def test_excluded_files_are_mentioned() -> None:
    assert ended(has_level4_excluded_files=True).message == (
        "Completed successfully, but some file(s) marked as moderately_sensitive were excluded. "
        "See job log for details."
    )


@pytest.mark.parametrize("fault", [Fault.ENGINE_UNAVAILABLE, None])
def test_what_a_host_gave_back_waits_however_often(fault: Fault | None) -> None:
    returned = ended(ending=Ending.RETURNED, exit_code=None, fault=fault, faults=MAX_FAULTS)
    assert returned.code is StatusCode.WAITING_ON_NEW_TASK
    assert returned.message.startswith("The backend could not start this job, and will by itself")
    assert FAULT_SENTENCES[fault or Fault.UNEXPECTED] in returned.message


@pytest.mark.spec("controller:123", "rap-api:106")
def test_unmatched_patterns_fail_with_the_fixed_text() -> None:
    conclusion = ended(has_unmatched_patterns=True)
    assert conclusion.code is StatusCode.UNMATCHED_PATTERNS
    assert conclusion.message == (
        "Outputs matching expected patterns were not found. See job log for details."
    )


@pytest.mark.spec("controller:124", "rap-api:103")
def test_non_zero_exit_without_a_reason() -> None:
    assert ended(1).message == "Job exited with an error"


@pytest.mark.spec("controller:125", "rap-api:104")
def test_the_agents_reason_is_appended() -> None:
    note: dict[str, Any] = {"exit_note": ExitNote.OUT_OF_MEMORY, "memory_limit_bytes": 4 * 1024**3}
    assert ended(137, **note).message == (
        "Job exited with an error: Job ran out of memory (limit was 4.00GB)"
    )
    assert ended(137, exit_note=ExitNote.OUT_OF_MEMORY).message == (
        "Job exited with an error: Job ran out of memory"
    )
    assert ended(137, exit_note=ExitNote.KILLED).message == (
        "Job exited with an error: Job killed by OpenSAFELY admin or memory limits"
    )


@pytest.mark.spec("controller:126", "rap-api:105")
@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, "command line arguments"),
        (3, "transient database error"),
        (4, "New data is being imported"),
        (5, "Something went wrong with the database"),
        (6, "too complex"),
        (10, "reading your ehrQL code"),
        (11, "supplied data files"),
        (12, "required permissions"),
        (13, "Assurance tests failed"),
        (14, "such slow progress"),
    ],
)
def test_exit_codes_of_database_jobs_have_a_sentence(code: int, words: str) -> None:
    assert words in ended(code, requires_db=True).message


@pytest.mark.spec("controller:127")
def test_the_agents_reason_wins_over_the_exit_codes_sentence() -> None:
    conclusion = ended(5, requires_db=True, exit_note=ExitNote.KILLED)
    assert conclusion.message.endswith("killed by OpenSAFELY admin or memory limits")


@pytest.mark.spec("controller:128")
def test_other_codes_and_other_jobs_get_no_sentence() -> None:
    assert ended(7, requires_db=True).message == "Job exited with an error"
    for code in (3, 4, 5):
        assert ended(code).message == "Job exited with an error"


@pytest.mark.spec("controller:129")
def test_non_zero_exit_beats_unmatched_patterns() -> None:
    assert ended(1, has_unmatched_patterns=True).code is StatusCode.NONZERO_EXIT


@pytest.mark.spec("controller:130")
def test_no_exit_code_is_a_failure() -> None:
    assert ended(None).code is StatusCode.NONZERO_EXIT


@pytest.mark.spec("controller:142")
def test_a_cancel_outranks_any_result() -> None:
    assert ended(0, stopped=StopReason.CANCELLED).code is StatusCode.CANCELLED_BY_USER


def test_a_success_that_came_before_maintenance_is_kept_and_a_failure_is_not() -> None:
    assert ended(0, stopped=StopReason.MAINTENANCE).code is StatusCode.SUCCEEDED
    assert ended(5, stopped=StopReason.MAINTENANCE).code is StatusCode.WAITING_DB_MAINTENANCE


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (StopReason.MAINTENANCE, StatusCode.WAITING_DB_MAINTENANCE),
        (StopReason.REBOOT, StatusCode.WAITING_ON_REBOOT),
        (StopReason.HOST_LOST, StatusCode.WAITING_ON_NEW_TASK),
        (StopReason.KILLED_BY_ADMIN, StatusCode.KILLED_BY_ADMIN),
    ],
)
def test_a_stopped_attempt_gets_the_code_of_its_reason(
    reason: StopReason, code: StatusCode
) -> None:
    assert ended(None, stopped=reason, ending=Ending.CANCELLED).code is code


def test_a_job_of_a_lost_host_says_why_it_waits() -> None:
    conclusion = ended(None, stopped=StopReason.HOST_LOST, attempt=3, ending=Ending.CANCELLED)
    assert conclusion.message == (
        "The backend's server that had the job was lost. Attempt 3 was lost through no fault of "
        "its own; attempt 4 begins afresh as soon as a worker is available."
    )


@pytest.mark.spec("controller:133")
@pytest.mark.parametrize("fault", sorted(TRANSIENT_FAULTS))
def test_a_transient_fault_asks_for_a_new_task_and_in_the_end_fails_with_its_sentence(
    fault: Fault,
) -> None:
    facts: dict[str, Any] = {"ending": Ending.FAILED, "fault": fault}
    pauses = []
    for faults in range(MAX_FAULTS - 1):
        conclusion = ended(None, faults=faults, **facts)
        assert conclusion.code is StatusCode.WAITING_ON_NEW_TASK
        assert conclusion.message == (
            "This job returned an error that could be retried with a new task. "
            f"{FAULT_SENTENCES[fault]} Attempt 2 follows."
        )
        pauses.append(conclusion.pause_s)
    assert pauses == sorted(pauses)
    assert pauses[-1] <= LONGEST_PAUSE_S
    last = ended(None, faults=MAX_FAULTS - 1, **facts)
    assert last.code is StatusCode.JOB_ERROR
    assert last.message == f"This job returned a fatal error. {FAULT_SENTENCES[fault]}"


@pytest.mark.parametrize("by", Interruption)
def test_an_interrupted_attempt_is_followed_by_another_at_once_and_says_why(
    by: Interruption,
) -> None:
    conclusion = ended(None, attempt=2, ending=Ending.INTERRUPTED, interruption=by, faults=4)
    assert (conclusion.code, conclusion.pause_s) == (StatusCode.WAITING_ON_NEW_TASK, 0)
    assert conclusion.message.startswith(INTERRUPTION_SENTENCES[by])
    assert "Attempt 2 was lost" in conclusion.message
    assert "attempt 3 begins afresh" in conclusion.message


def test_a_job_that_is_interrupted_too_often_ends_with_a_sentence_of_its_own() -> None:
    facts: dict[str, Any] = {
        "ending": Ending.INTERRUPTED,
        "interruption": Interruption.HOST_REBOOTED,
    }
    codes = [ended(None, interruptions=before, **facts).code for before in range(4)]
    assert codes == [StatusCode.WAITING_ON_NEW_TASK] * 3 + [StatusCode.JOB_ERROR]
    message = ended(None, interruptions=3, **facts).message
    assert message.startswith("This job returned a fatal error. It was interrupted 4 times")
    assert INTERRUPTION_SENTENCES[Interruption.HOST_REBOOTED] in message


def test_an_interruption_counts_for_a_day() -> None:
    day = 24 * 3600
    assert [that_count([0.0, 10.0], now) for now in (day - 1.0, day, day + 10.0)] == [2, 1, 0]


def test_an_interruption_that_this_version_does_not_know_is_one_all_the_same() -> None:
    conclusion = ended(None, ending=Ending.INTERRUPTED)
    assert conclusion.code is StatusCode.WAITING_ON_NEW_TASK
    assert conclusion.message.startswith("The backend lost what the job ran on.")


@pytest.mark.parametrize(
    ("order", "code"),
    [
        (StopReason.CANCELLED, StatusCode.CANCELLED_BY_USER),
        (StopReason.REBOOT, StatusCode.WAITING_ON_REBOOT),
    ],
)
def test_an_order_outranks_an_interruption(order: StopReason, code: StatusCode) -> None:
    facts: dict[str, Any] = {
        "ending": Ending.INTERRUPTED,
        "interruption": Interruption.HOST_REBOOTED,
    }
    assert ended(None, stopped=order, interruptions=9, **facts).code is code


@pytest.mark.parametrize("fault", sorted(set(Fault) - TRANSIENT_FAULTS))
def test_a_permanent_fault_fails_the_job_at_once(fault: Fault) -> None:
    conclusion = ended(None, ending=Ending.FAILED, fault=fault)
    assert conclusion.code is StatusCode.JOB_ERROR
    assert FAULT_SENTENCES[fault] in conclusion.message


def test_a_job_killed_on_the_backend_is_killed_by_admin() -> None:
    assert ended(None, ending=Ending.CANCELLED).code is StatusCode.KILLED_BY_ADMIN


@pytest.mark.parametrize("order", [StopReason.MAINTENANCE, StopReason.REBOOT])
def test_a_job_killed_on_the_backend_does_not_come_back_after_maintenance_or_a_reboot(
    order: StopReason,
) -> None:
    killed = JobOutcome(task_id="j-001", ending=Ending.CANCELLED, exit_note=ExitNote.KILLED)
    result = AttemptResult(outcome=killed, stopped=order)
    conclusion = conclude(result, requires_db=True, faults=0)
    assert conclusion.code is StatusCode.KILLED_BY_ADMIN
    assert conclusion.message == "Job killed by an OpenSAFELY administrator"
    by_its_user = AttemptResult(outcome=killed, stopped=StopReason.CANCELLED)
    conclusion = conclude(by_its_user, requires_db=True, faults=0)
    assert conclusion.code is StatusCode.CANCELLED_BY_USER


def test_an_attempt_that_ends_without_an_outcome_is_an_internal_error() -> None:
    conclusion = conclude(AttemptResult(), requires_db=False, faults=0)
    assert conclusion.code is StatusCode.INTERNAL_ERROR
