"""Spans: what may be in them, their times, and that telling never disturbs what is told about."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any

import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext
from opentelemetry.trace import StatusCode as SpanStatus

from rap.telemetry import traces
from rap.telemetry.traces import Event, Failure
from tests.support.spans import Spans, traced_by
from tests.support.spans import spans as collecting

pytestmark = pytest.mark.unit

NOW = 1_700_000_000 * traces.NS
TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


@pytest.fixture
def spans() -> Iterator[Spans]:
    with collecting() as collected:
        yield collected


def record(name: str = "step", **changes: Any) -> SpanContext | None:
    facts: dict[str, Any] = {"start_ns": NOW, "end_ns": NOW + 5, "attributes": {}}
    return traces.record(traces.tracer("jobs"), name, **(facts | changes))


class Colour(StrEnum):
    RED = "red"


@pytest.mark.spec("controller:203")
def test_values_of_other_types_become_text_and_are_complained_of_but_nulls_silently() -> None:
    given = {
        "flag": True,
        "text": "t",
        "raw": b"r",
        "count": 3,
        "share": 0.5,
        "word": Colour.RED,
        "nothing": None,
        "list": ["a", "b"],
    }
    with structlog.testing.capture_logs() as logs:
        cleaned = traces.clean("JOB", given)
    assert cleaned == {**given, "word": "red", "nothing": "None", "list": "['a', 'b']"}
    assert type(cleaned["word"]) is str
    assert [(line["log_level"], line["event"]) for line in logs] == [
        (
            "error",
            "Trace span JOB attribute list was set invalid type: ['a', 'b'], type <class 'list'>",
        )
    ]


def test_a_span_has_the_given_times_attributes_events_and_parent(spans: Spans) -> None:
    root = traces.root_of(TRACE)
    record(attributes={"a": 1}, parent=root, events=[Event("met", NOW + 2, {"b": None})])
    (span,) = spans.all
    assert (span.start_time, span.end_time) == (NOW, NOW + 5)
    assert span.attributes == {"a": 1}
    assert (span.context.trace_id, span.parent.span_id) == (root.trace_id, root.span_id)
    assert [(each.name, each.timestamp, dict(each.attributes)) for each in span.events] == [
        ("met", NOW + 2, {"b": "None"})
    ]
    assert span.status.status_code is SpanStatus.UNSET


def test_a_span_may_have_the_identity_that_was_given_away_before_and_the_next_has_its_own(
    spans: Spans,
) -> None:
    root = traces.root_of(TRACE)
    record("root", identity=root)
    record("next")
    first, second = spans.all
    assert (first.context.trace_id, first.context.span_id) == (root.trace_id, root.span_id)
    assert first.parent is None
    assert second.context.trace_id != root.trace_id


def test_spans_of_the_past_are_no_part_of_what_is_going_on(spans: Spans) -> None:
    with traces.span("api", "request"):
        record("root")
    assert spans.one("root").parent is None
    assert spans.one("root").context.trace_id != spans.one("request").context.trace_id


@pytest.mark.parametrize(
    ("times", "warning"),
    [
        ({"start_ns": 5, "end_ns": 6}, "the span step starts before 2000: 5"),
        (
            {"start_ns": NOW, "end_ns": NOW - 1},
            f"the span step ends before it starts: {NOW - 1} < {NOW}",
        ),
    ],
)
def test_impossible_times_are_warned_about_and_the_span_is_sent(
    spans: Spans, times: dict[str, Any], warning: str
) -> None:
    with structlog.testing.capture_logs() as logs:
        record(**times)
    assert [(line["log_level"], line["event"]) for line in logs] == [("warning", warning)]
    (span,) = spans.all
    assert span.end_time >= span.start_time


@pytest.mark.parametrize(
    "carrier", [{}, {"traceparent": ""}, {"traceparent": "00-xyz"}, {"traceparent": "0" * 55}]
)
def test_a_carrier_that_names_no_trace_has_no_root(carrier: dict[str, Any]) -> None:
    assert traces.root_of(carrier) is None


def test_a_block_that_raises_is_a_span_of_an_error_with_its_class_alone(spans: Spans) -> None:
    with pytest.raises(ValueError, match="patient 7"), traces.span("api", "request"):
        raise ValueError("patient 7")
    (span,) = spans.all
    assert (span.status.status_code, span.status.description) == (SpanStatus.ERROR, "ValueError")
    assert "patient" not in span.to_json()


def test_a_block_continues_the_trace_of_the_request_that_caused_it(spans: Spans) -> None:
    with traces.span("api", "request", carrier=TRACE), traces.span("api", "inner"):
        pass
    root = traces.root_of(TRACE)
    assert spans.one("request").parent.span_id == root.span_id
    assert spans.one("inner").parent.span_id == spans.one("request").context.span_id
    assert {span.context.trace_id for span in spans.all} == {root.trace_id}


def test_a_timed_block_tells_whole_milliseconds_also_when_it_raises(spans: Spans) -> None:
    with pytest.raises(KeyError), traces.span("api", "request"):  # noqa: SIM117
        with traces.timed("find.duration_ms"):
            raise KeyError
    elapsed = spans.one("request").attributes["find.duration_ms"]
    assert isinstance(elapsed, int)
    assert elapsed >= 0


class Broken(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise RuntimeError("the receiver is mad")


@pytest.mark.spec("controller:204")
def test_an_exporter_that_raises_disturbs_nothing() -> None:
    with traced_by(Broken()):
        with traces.span("api", "request"):
            done = "done"
        assert record() is not None
    assert done == "done"


@pytest.mark.spec("controller:204")
def test_a_span_that_cannot_be_made_is_one_line_in_the_log(spans: Spans) -> None:
    with structlog.testing.capture_logs() as logs:
        assert record(start_ns="yesterday") is None
    assert [line["event"] for line in logs] == ["failed to make the span step"]
    assert spans.all == ()


def test_nothing_is_made_while_traces_are_off() -> None:
    assert not traces.is_on()
    assert not record().is_valid
    with traces.span("api", "request") as span:
        assert not span.is_recording()


def test_a_failure_is_told_by_its_kind_and_text() -> None:
    assert (str(Failure("KeyError")), str(Failure("KeyError", "x"))) == ("KeyError", "KeyError: x")
