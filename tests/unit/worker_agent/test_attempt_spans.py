"""The spans of attempts and of measuring them."""

from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from opentelemetry.trace import StatusCode as SpanStatus

from rap.egress import DataCheckStatus, Ending, ExitNote, Fault, JobOutcome, Stage
from rap.messages.checks import DatabaseStatusOrder
from rap.models import JobDefinition, PrivacyLevel
from rap.telemetry import traces
from tests.support.factories import job_definition, study
from tests.support.spans import Spans
from tests.support.spans import spans as collecting
from worker_agent import attempt_spans as attempt_spans
from worker_agent.attempt_spans import AttemptSpans, job_attributes
from worker_agent.database.answers import status_finding
from worker_agent.database.spans import CheckSpan
from worker_agent.running_jobs import Jobs
from worker_agent.workspace.metadata import JobRecord

pytestmark = pytest.mark.unit

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
IMAGE = "sha256:" + "a" * 64


@pytest.fixture
def spans() -> Iterator[Spans]:
    with collecting() as collected:
        yield collected


def definition(**changes: Any) -> JobDefinition:
    facts = {
        "repo_url": "https://github.com/opensafely-actions/cox",
        "commit": "d" * 40,
        "study": study(git_repo_url="https://github.com/opensafely/s", commit="c" * 40, branch="b"),
        "workspace": "ws",
        "action": "make",
        "created_at": 1_700_000_000,
        "args": ("python", "a.py"),
        "env": {"DATABASE_URL": "secret-url"},
        "inputs": (),
        "input_job_ids": ("in1", "in2"),
        "output_spec": {"hidden/pattern*.csv": PrivacyLevel.HIGHLY_SENSITIVE},
        "cpu_count": 2.0,
        "memory_limit": "4G",
        "user": "alice",
        "project": "asthma",
        "orgs": ("lshtm", "bennett"),
        "trace_context": TRACE,
        "backend": "tpp",
    }
    return job_definition(**(facts | changes))


def outcome(ending: Ending = Ending.COMPLETED, **changes: Any) -> JobOutcome:
    return JobOutcome(task_id="job1-001", ending=ending, **changes)


def passes(spans: Spans) -> list[Any]:
    return [
        tuple(
            span.attributes[name] for name in ("initial_job_status", "final_job_status", "complete")
        )
        for span in spans.named("LOOP_TASK")
    ]


@pytest.mark.spec("agent:33")
def test_each_step_of_an_attempt_tells_its_status_before_and_after(spans: Spans) -> None:
    following = AttemptSpans(definition())
    for stage in Stage:
        if stage is not Stage.EXECUTED:  # known only afterwards
            following.reached(stage)
    following.ended(outcome(exit_code=0), None)
    following.let_go()
    assert passes(spans) == [
        ("UNKNOWN", "PREPARED", False),
        ("PREPARED", "EXECUTING", False),
        ("EXECUTING", "EXECUTED", False),
        ("EXECUTED", "FINALIZED", True),
    ]
    steps = spans.named("LOOP_TASK")
    assert all(step.end_time >= step.start_time for step in steps)
    assert [step.start_time for step in steps[1:]] == [step.end_time for step in steps[:-1]]
    root = traces.root_of(TRACE)
    assert {step.context.trace_id for step in steps} == {root.trace_id}
    assert {step.parent.span_id for step in steps} == {root.span_id}


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        ([Stage.EXECUTING], [("EXECUTING", "EXECUTING", False)]),
        ([Stage.PREPARING], [("UNKNOWN", "UNKNOWN", False)]),
        ([], []),
    ],
)
def test_an_attempt_that_is_given_back_is_not_complete(
    spans: Spans, stages: list[Any], expected: list[Any]
) -> None:
    following = AttemptSpans(definition())
    for stage in stages:
        following.reached(stage)
    following.let_go()
    following.let_go()
    assert passes(spans) == expected


def test_an_attempt_that_another_process_began_starts_where_it_stands(spans: Spans) -> None:
    following = AttemptSpans(definition())
    following.reached(Stage.EXECUTING)
    following.reached(Stage.FINALIZING)
    following.ended(outcome(Ending.CANCELLED), None)
    assert passes(spans) == [("EXECUTING", "EXECUTED", False), ("EXECUTED", "FINALIZED", True)]
    assert spans.named("LOOP_TASK")[-1].attributes["cancelled"] is True


def test_a_failure_is_told_by_its_word_and_as_fatal_only_when_it_is_given_up(spans: Spans) -> None:
    following = AttemptSpans(definition())
    following.reached(Stage.PREPARING)
    following.troubled(Fault.IMAGE_PULL_FAILED)
    following.ended(outcome(Ending.FAILED, fault=Fault.IMAGE_PULL_FAILED), None)
    again, given_up = spans.named("LOOP_TASK")
    assert passes(spans) == [("UNKNOWN", "UNKNOWN", False), ("UNKNOWN", "ERROR", True)]
    assert again.attributes["fatal_task_error"] is False
    assert given_up.attributes["fatal_task_error"] is True
    for span in (again, given_up):
        assert span.status.status_code is SpanStatus.ERROR
        assert span.status.description == "image_pull_failed"
        assert [event.name for event in span.events] == ["exception"]


@pytest.mark.spec("agent:157")
def test_a_span_says_whose_attempt_it_is_and_nobody_can_say_otherwise(spans: Spans) -> None:
    following = AttemptSpans(definition())
    following.reached(Stage.PREPARING)
    following._record(
        "PREPARED", {"user": "mallory", "job": "x", "task": "y", "final_job_status": 1}
    )
    attributes = dict(spans.one("LOOP_TASK").attributes)
    assert isinstance(attributes.pop("task_created_at"), int)
    assert attributes == {
        "backend": "tpp",
        "task": "job1-001",
        "task_type": "RUNJOB",
        "user": "alice",
        "project": "asthma",
        "orgs": "lshtm,bennett",
        "job": "job1",
        "job_request": "rap1",
        "workspace": "ws",
        "repo_url": "https://github.com/opensafely/s",
        "commit": "c" * 40,
        "action": "make",
        "job_created_at": 1_700_000_000_000_000_000,
        "image": "ghcr.io/opensafely-core/python:v2",
        "args": "python,a.py",
        "input_job_ids": "in1,in2",
        "allow_database_access": False,
        "cpu_count": 2.0,
        "memory_limit": "4G",
        "initial_job_status": "UNKNOWN",
        "final_job_status": "PREPARED",
        "complete": False,
    }


def test_names_that_were_not_given_are_unknown() -> None:
    given = job_attributes(definition(user="", project="", orgs=()), taken_ns=1)
    assert (given["user"], given["project"], given["orgs"]) == ("unknown", "unknown", "")


@pytest.mark.spec("agent:62")
def test_no_span_holds_outputs_patterns_messages_or_secrets(spans: Spans) -> None:
    record = JobRecord(
        outputs={"secret/file.csv": "highly_sensitive"},
        unmatched_patterns=("hidden/pattern*.csv",),
        unmatched_outputs=("stray/file.csv",),
        level4_excluded_files={"excluded/file.csv": "why"},
        refused_outputs={"refused/file.csv": "why"},
        status_message="secret/file.csv is missing",
        hint="did you mean stray/file.csv?",
        action_version="v1.2.3",
        container_metadata={"Config": {"Env": ["DATABASE_URL=secret-url"]}},
    )
    following = AttemptSpans(definition())
    following.reached(Stage.EXECUTING)
    following.ended(
        outcome(exit_code=137, exit_note=ExitNote.OUT_OF_MEMORY, image_id=IMAGE), record
    )
    (span,) = spans.all
    text = span.to_json()
    for secret in ("secret", "hidden", "stray", "excluded", "refused", ".csv"):
        assert secret not in text
    results = {name: span.attributes[name] for name in (
        "exit_code", "image_id", "executor_message", "action_version", "action_revision",
        "action_created", "base_revision", "base_created", "cancelled", "error",
    )}  # fmt: skip
    assert results == {
        "exit_code": 137,
        "image_id": IMAGE,
        "executor_message": "completed: out_of_memory",
        "action_version": "v1.2.3",
        "action_revision": "unknown",
        "action_created": "unknown",
        "base_revision": "unknown",
        "base_created": "unknown",
        "cancelled": False,
        "error": False,
    }


@pytest.mark.spec("agent:158")
async def test_an_error_in_telling_leaves_the_attempt_as_it_is(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: Any, **_more: Any) -> None:
        raise RuntimeError("nothing to say")

    monkeypatch.setattr(attempt_spans, "job_attributes", broken)
    monkeypatch.setattr(attempt_spans, "result_attributes", broken)
    with structlog.testing.capture_logs() as logs:
        async with Jobs().admit(definition()) as job:
            job.enter(Stage.PREPARING)
            job.enter(Stage.PREPARED)
            job.in_trouble(Fault.DISK_FULL)
            assert (job.stage, job.trouble) == (Stage.PREPARED, Fault.DISK_FULL)
            job.spans.ended(outcome(), None)
    said = [line["event"] for line in logs if line["log_level"] == "error"]
    assert set(said) == {
        "failed to trace task job1-001",
        "failed to trace job results for job job1",
    }
    assert spans.all == ()


def check_span(task_type: str = "DBSTATUS") -> CheckSpan:
    order = DatabaseStatusOrder(image="ghcr.io/o/tpp-database-utils:latest", image_sha=IMAGE)
    return CheckSpan(task_type, "tpp", order)


@pytest.mark.parametrize(
    ("answer", "maintenance", "count"),
    [(b"db-maintenance;1", True, "1"), (b"none;0", False, "0"), (b"", False, "")],
)
def test_a_status_check_tells_what_it_found_and_how_many_builds_run(
    spans: Spans, answer: bytes, maintenance: bool, count: str
) -> None:
    check_span().found_status(status_finding(answer))
    assert dict(spans.one("LOOP_TASK").attributes) == {
        "backend": "tpp",
        "task_type": "DBSTATUS",
        "complete": True,
        "agent.db-image": "ghcr.io/o/tpp-database-utils:latest",
        "agent.db-image_id": IMAGE,
        "agent.db-maintenance": maintenance,
        "agent.db-build-count": count,
    }


def test_a_data_check_tells_its_answer_and_a_failed_one_its_fault(spans: Spans) -> None:
    check_span("DBDATACHECK").found_data(DataCheckStatus.OK)
    check_span("DBDATACHECK").failed(Fault.CHECK_ANSWER_REFUSED)
    good, bad = spans.named("LOOP_TASK")
    assert good.attributes["agent.db-data-check"] is True
    assert "agent.db-data-check" not in bad.attributes
    assert bad.attributes["fatal_task_error"] is False
    assert bad.status.description == "check_answer_refused"
