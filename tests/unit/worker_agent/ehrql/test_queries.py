"""The queries that a log tells of, and their spans."""

import json

import pytest

from tests.support.spans import spans as collecting
from worker_agent.ehrql.queries import Query, parse, record_spans, to_microseconds

pytestmark = pytest.mark.unit

NS = 1_000_000_000
T = 1_767_323_045  # 2026-01-02T03:04:05Z


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05.678901234Z", T * NS + 678_901_000),
        ("2026-01-02T03:04:05Z", T * NS),
        ("2026-01-02T05:04:05.5+02:00", T * NS + 500_000_000),
        ("2026-01-02 03:04:05.678901 +0000", T * NS + 678_901_000),
        ("2026-01-02 03:04:05", T * NS),
    ],
)
def test_moments_are_cut_to_microseconds(text: str, expected: int) -> None:
    assert to_microseconds(text) == expected


@pytest.mark.parametrize("value", ["yesterday", "", "0001-01-01T00:00:00Z", None, 5])
def test_what_is_no_moment_is_refused(value: int | str | None) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        to_microseconds(value)


@pytest.mark.spec("agent:160")
def test_blank_lines_count_for_nothing_and_bad_ones_are_told_and_skipped() -> None:
    good = json.dumps({"name": "q1", "start": "2026-01-02T03:04:05Z", "end": None})
    bad = ["not json", "[]", '{"name": "q"}', '{"name": "q", "start": "never", "end": null}']
    told: list[str] = []
    queries = parse([good, "", "   ", *bad, good], told.append)
    assert queries == [Query(name="q1", start="2026-01-02T03:04:05Z")] * 2
    assert told == [f"bad json from ehrql: {line}" for line in bad]


@pytest.mark.spec("agent:160")
def test_each_query_is_a_child_of_its_run_and_an_open_one_ends_with_it() -> None:
    queries = parse(
        [
            json.dumps(
                {
                    "name": "done",
                    "start": "2026-01-02T03:04:05Z",
                    "end": "2026-01-02T03:04:07Z",
                    "attributes": {"rows": 5, "job.id": "forged"},
                    "events": [
                        {
                            "name": "retry",
                            "timestamp": "2026-01-02T03:04:06.000001999Z",
                            "attributes": {"n": 1},
                        }
                    ],
                }
            ),
            json.dumps({"name": "open", "start": "2026-01-02T03:04:08Z", "end": None}),
        ],
        pytest.fail,
    )
    with collecting() as spans:
        count = record_spans(
            "generate-dataset", queries, {"job.id": "j"}, start_ns=T * NS, end_ns=(T + 9) * NS
        )
    assert count == 3
    root, done, still_open = (
        spans.one(name) for name in ("ehrql.generate-dataset", "done", "open")
    )
    assert root.parent is None
    assert (root.start_time, root.end_time) == (T * NS, (T + 9) * NS)
    assert {each.parent.span_id for each in (done, still_open)} == {root.context.span_id}
    assert (done.start_time, done.end_time) == (T * NS, (T + 2) * NS)
    assert (still_open.start_time, still_open.end_time) == ((T + 3) * NS, (T + 9) * NS)
    assert dict(done.attributes) == {"rows": 5, "job.id": "j"}
    (event,) = done.events
    assert (event.name, event.timestamp) == ("retry", (T + 1) * NS + 1000)
    assert dict(event.attributes) == {"n": 1}
