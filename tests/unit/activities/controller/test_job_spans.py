"""The trace of each job, told when its record is written to a real read model."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import StatusCode as SpanStatus

from activities.controller import job_spans
from activities.controller.records import RecordsActivities
from rap.ids import job_id
from rap.models import PrivacyLevel
from rap.records import Records
from rap.records.migrations import upgrade
from rap.rows import BackendUpdate, JobChanges
from rap.status import StatusCode
from rap.telemetry import traces
from tests.support.factories import job_spec, study
from tests.support.records import CREATED_AT, backend_row, change, changed, created, rap_id
from tests.support.spans import Spans
from tests.support.spans import spans as collecting
from worker_controller import ticks
from workflows.rows import rap_rows

pytestmark = pytest.mark.unit

RAP = rap_id(1)
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
ROOT = traces.root_of(TRACE)
T = CREATED_AT
NS = traces.NS
IMAGE = "sha256:" + "a" * 64


@pytest.fixture
def spans() -> Iterator[Spans]:
    with collecting() as collected:
        yield collected


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A read model that holds nothing yet."""
    path = tmp_path_factory.mktemp("records") / "empty.sqlite"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def records(tmp_path: Path, empty: Path) -> Iterator[Records]:
    path = shutil.copy(empty, tmp_path / "records.sqlite")
    records = Records.connect(f"sqlite:///{path}")
    yield records
    records.close()


@pytest.fixture
def activities(records: Records) -> RecordsActivities:
    return RecordsActivities(records)


async def create(activities: RecordsActivities, **values: Any) -> None:
    await activities.record_jobs(created(RAP, trace_context=TRACE, **values))


async def move(activities: RecordsActivities, code: StatusCode, at: float, **values: Any) -> None:
    await activities.record_jobs(changed(RAP, "analyse", code, at, **values))


def of_jobs(spans: Spans) -> list[Any]:
    return [span for span in spans.all if span.instrumentation_scope.name == "jobs"]


def times(span: ReadableSpan) -> tuple[int, int]:
    return (span.start_time - T * NS, span.end_time - T * NS)


@pytest.mark.spec("controller:199")
async def test_each_change_tells_the_code_that_was_left_from_entry_to_exit(
    activities: RecordsActivities, spans: Spans
) -> None:
    await create(activities)
    await move(activities, StatusCode.WAITING_ON_WORKERS, T + 1.5)
    await move(activities, StatusCode.INITIATED, T + 4)
    await move(activities, StatusCode.EXECUTING, T + 5)
    told = of_jobs(spans)
    assert [(span.name, times(span)) for span in told] == [
        ("CREATED", (0, 1_500_000_000)),
        ("WAITING_ON_WORKERS", (1_500_000_000, 4 * NS)),
        ("INITIATED", (4 * NS, 5 * NS)),
    ]
    for span in told:
        assert span.context.trace_id == ROOT.trace_id
        assert span.parent.span_id == ROOT.span_id
    assert told[1].attributes["job.state"] == "PENDING"
    assert told[1].attributes["job.message"] == "Waiting on available workers"


@pytest.mark.spec("controller:200")
@pytest.mark.parametrize(
    ("code", "succeeded"),
    [(StatusCode.SUCCEEDED, True), (StatusCode.NONZERO_EXIT, False)],
)
async def test_the_end_is_a_marker_and_the_root_that_the_job_was_given(
    activities: RecordsActivities, spans: Spans, code: StatusCode, succeeded: bool
) -> None:
    await create(activities)
    await move(activities, StatusCode.EXECUTING, T + 5)
    await move(activities, code, T + 65)
    assert [span.name for span in of_jobs(spans)] == ["CREATED", "EXECUTING", code.name, "JOB"]
    marker, root = spans.one(code.name), spans.one("JOB")
    assert times(marker) == (65 * NS, 66 * NS)
    assert times(root) == (-1000, 65 * NS)
    assert (root.context.trace_id, root.context.span_id) == (ROOT.trace_id, ROOT.span_id)
    assert root.parent is None
    for span in (marker, root):
        assert span.attributes["job.succeeded"] is succeeded
        assert span.attributes["job.state"] == ("SUCCEEDED" if succeeded else "FAILED")


@pytest.mark.spec("controller:201")
async def test_what_goes_on_meanwhile_is_no_part_of_a_jobs_trace(
    activities: RecordsActivities, spans: Spans
) -> None:
    with traces.span("api", "request"):
        await create(activities)
        await move(activities, StatusCode.SUCCEEDED, T + 5)
    request = spans.one("request").context.trace_id
    assert {span.context.trace_id for span in of_jobs(spans)} == {ROOT.trace_id}
    assert ROOT.trace_id != request
    assert spans.one("JOB").parent is None


@pytest.mark.spec("controller:202")
@pytest.mark.parametrize(
    ("code", "is_error"),
    [
        (StatusCode.NONZERO_EXIT, False),
        (StatusCode.JOB_ERROR, False),
        (StatusCode.CANCELLED_BY_USER, False),
        (StatusCode.INTERNAL_ERROR, True),
    ],
)
async def test_only_an_internal_error_makes_spans_of_an_error(
    activities: RecordsActivities, spans: Spans, code: StatusCode, is_error: bool
) -> None:
    await create(activities)
    await move(activities, code, T + 5)
    for span in of_jobs(spans):
        assert (span.status.status_code is SpanStatus.ERROR) is is_error
        assert [event.name for event in span.events] == (["exception"] if is_error else [])
    if is_error:
        assert spans.one("JOB").status.description.startswith("InternalError: Internal error")


@pytest.mark.spec("controller:203", "controller:208")
async def test_a_finished_job_says_what_it_was_and_how_it_ended(
    activities: RecordsActivities, spans: Spans
) -> None:
    spec = job_spec(
        id=job_id(RAP, "analyse"),
        rap_id=RAP,
        backend="tpp",
        workspace="asthma",
        study=study(git_repo_url="https://github.com/opensafely/s", commit="c" * 40, branch="b"),
        run_command="cox:v1 model",
        requires_db=True,
        outputs={PrivacyLevel.MODERATELY_SENSITIVE: {"secret_name": "hidden/pattern*.csv"}},
        action_repo_url="https://github.com/opensafely-actions/cox",
        action_commit="d" * 40,
        orgs=("lshtm", "bennett"),
        analysis_scope={"dataset_permissions": ["a", "b"]},
        created_at=T,
        trace_context=TRACE,
    )
    await activities.record_jobs(JobChanges(created=rap_rows(RAP, (spec,))))
    await move(activities, StatusCode.EXECUTING, T + 5)
    await move(activities, StatusCode.SUCCEEDED, T + 9, exit_code=0, image_id=IMAGE)
    assert dict(spans.one("JOB").attributes) == {
        "rap.backend": "tpp",
        "job.backend": "tpp",
        "job.id": spec.id,
        "job.request": RAP,
        "job.workspace": "asthma",
        "job.action": "analyse",
        "job.commit": "c" * 40,
        "job.run_command": "cox:v1 model",
        "job.user": "unknown",
        "job.project": "unknown",
        "job.orgs": "lshtm,bennett",
        "job.state": "SUCCEEDED",
        "job.message": "Completed successfully",
        "job.created_at": T * NS,
        "job.started_at": (T + 5) * NS,
        "job.status_code_updated_at": (T + 9) * NS,
        "job.requires_db": True,
        "job.reusable_action": f"https://github.com/opensafely-actions/cox:{'d' * 40}",
        "job.analysis_scope.dataset_permissions": "a,b",
        "job.succeeded": True,
        "job.exit_code": 0,
        "job.image_id": IMAGE,
        "job.executor_message": "Completed successfully",
        "job.action_version": "unknown",
        "job.action_revision": "unknown",
        "job.action_created": "unknown",
        "job.base_revision": "unknown",
        "job.base_created": "unknown",
    }
    assert spans.one("CREATED").attributes["job.started_at"] == "None"
    for span in spans.all:
        assert "secret_name" not in span.to_json()
        assert "hidden" not in span.to_json()


@pytest.mark.spec("controller:203")
async def test_extras_get_their_prefix_and_replace_nothing(
    activities: RecordsActivities, spans: Spans, records: Records
) -> None:
    extras = {"colour": "red", "job.id": "other", "id": "another", "job.orgs": "o"}
    await create(activities, trace_attributes=extras)
    with structlog.testing.capture_logs() as logs:
        await move(activities, StatusCode.INITIATED, T + 1)
    attributes = spans.one("CREATED").attributes
    assert attributes["job.colour"] == "red"
    assert attributes["job.id"] == job_id(RAP, "analyse")
    assert attributes["job.orgs"] == "o"
    warnings = {line["event"] for line in logs if line["log_level"] == "warning"}
    assert "the trace attribute colour of a job is sent as job.colour" in warnings


async def test_a_write_that_comes_again_or_late_is_told_once(
    activities: RecordsActivities, spans: Spans
) -> None:
    await create(activities)
    for _ in range(3):
        await move(activities, StatusCode.EXECUTING, T + 5)
    await move(activities, StatusCode.INITIATED, T + 2)
    for _ in range(2):
        await move(activities, StatusCode.SUCCEEDED, T + 9)
    await move(activities, StatusCode.INTERNAL_ERROR, T + 10)
    told = [span.name for span in of_jobs(spans)]
    assert told == ["CREATED", "EXECUTING", "SUCCEEDED", "JOB"]


async def test_several_changes_of_one_write_are_told_in_their_order(
    activities: RecordsActivities, spans: Spans
) -> None:
    codes = [StatusCode.INITIATED, StatusCode.EXECUTING, StatusCode.SUCCEEDED]
    changes = [change(RAP, "analyse", code, T + i) for i, code in enumerate(codes, 1)]
    await activities.record_jobs(
        JobChanges(created=created(RAP, trace_context=TRACE).created, changes=tuple(changes))
    )
    assert [(span.name, times(span)) for span in of_jobs(spans)][:3] == [
        ("CREATED", (0, NS)),
        ("INITIATED", (NS, 2 * NS)),
        ("EXECUTING", (2 * NS, 3 * NS)),
    ]


async def test_stages_that_agents_report_are_told_too(
    activities: RecordsActivities, spans: Spans
) -> None:
    await create(activities)
    await move(activities, StatusCode.INITIATED, T + 1)
    row = backend_row()
    update = BackendUpdate(
        row=row, changes=(change(RAP, "analyse", StatusCode.PREPARING, T + 2.25),)
    )
    await activities.record_backend(update)
    await activities.record_backend(update)
    assert times(spans.one("INITIATED")) == (NS, 2_250_000_000)


async def test_a_job_without_a_trace_is_passed_over(
    activities: RecordsActivities, spans: Spans
) -> None:
    await activities.record_jobs(created(RAP))
    await move(activities, StatusCode.SUCCEEDED, T + 1)
    assert of_jobs(spans) == []


@pytest.mark.spec("controller:204")
async def test_an_error_in_telling_changes_no_record_and_is_logged(
    activities: RecordsActivities, spans: Spans, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no attributes today")

    await create(activities)
    monkeypatch.setattr(job_spans, "job_attributes", broken)
    with structlog.testing.capture_logs() as logs:
        await move(activities, StatusCode.SUCCEEDED, T + 1)
    (stored,) = records.rap(RAP)
    assert stored.status_code is StatusCode.SUCCEEDED
    assert f"failed to trace job {stored.id}" in [line["event"] for line in logs]


@pytest.mark.spec("controller:205")
async def test_each_job_handled_in_a_write_tells_where_it_came_from_and_went(
    activities: RecordsActivities, spans: Spans
) -> None:
    await create(activities)
    await move(activities, StatusCode.EXECUTING, T + 5)
    handled, loop = spans.one("LOOP_JOB"), spans.one("LOOP")
    assert handled.parent.span_id == loop.context.span_id
    assert loop.attributes["loop"] is True
    found = {name: handled.attributes[f"job.{name}"] for name in (
        "initial_state", "initial_code", "final_state", "final_code", "id"
    )}  # fmt: skip
    assert found == {
        "initial_state": "PENDING",
        "initial_code": "CREATED",
        "final_state": "RUNNING",
        "final_code": "EXECUTING",
        "id": job_id(RAP, "analyse"),
    }


@pytest.mark.spec("controller:205")
async def test_a_write_that_fails_is_told_with_its_error(
    activities: RecordsActivities, spans: Spans
) -> None:
    with pytest.raises(Exception, match="has no job"):
        await move(activities, StatusCode.EXECUTING, T + 5)
    handled = spans.one("LOOP_JOB")
    assert handled.attributes["job.fatal_error"] is False
    assert handled.status.status_code is SpanStatus.ERROR
    assert handled.status.description.startswith("UnknownJob: ")
    assert [event.name for event in handled.events] == ["exception"]
    assert spans.one("LOOP").status.status_code is SpanStatus.ERROR
    assert of_jobs(spans) == []


@pytest.mark.spec("controller:206")
async def test_a_tick_tells_of_every_job_that_is_not_over_but_not_the_first(
    activities: RecordsActivities, records: Records, spans: Spans
) -> None:
    actions = ("waits", "runs", "ended")
    await activities.record_jobs(created(RAP, *actions, trace_context=TRACE))
    await activities.record_jobs(changed(RAP, "runs", StatusCode.EXECUTING, T + 5))
    await activities.record_jobs(changed(RAP, "ended", StatusCode.SUCCEEDED, T + 5))
    spans.clear()
    pauses = 0

    async def two_pauses(_seconds: float) -> None:
        nonlocal pauses
        pauses += 1
        # Before the first pause nothing is told; after the second the ticks are stopped.
        assert len([name for name in spans.names if name == "TICK"]) == pauses - 1
        if pauses == 2:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await ticks.tick_for_ever(records, 30, pause=two_pauses)
    tick = spans.one("TICK")
    children = [span for span in spans.all if span is not tick]
    assert sorted(span.name for span in children) == ["CREATED", "EXECUTING"]
    for span in children:
        assert span.parent.span_id == tick.context.span_id
        assert (span.start_time, span.end_time) == (tick.start_time, tick.end_time)
    assert spans.one("EXECUTING").attributes["job.action"] == "runs"
