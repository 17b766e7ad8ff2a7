"""``metrics.jsonl``: the course of a job's use of the machine, small however long the job runs."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker_agent.engine.facts import UsageReading
from worker_agent.state.usage import MEBIBYTE, UsageState, aggregate
from worker_agent.state.usage_series import MOST_BYTES, UsagePoint, line, parse, thinned

pytestmark = pytest.mark.unit

START = 1_700_000_000.0


def samples(
    count: int, seconds: float = 10.0, cpu: float = 50.0, memory: float = 100.0
) -> list[UsagePoint]:
    return [
        UsagePoint.of_sample(START + i * seconds, seconds=seconds, cpu=cpu, memory_mb=memory)
        for i in range(1, count + 1)
    ]


def test_a_line_is_one_json_object_that_charts_can_read() -> None:
    (point,) = samples(1)
    assert json.loads(line(point)) == {
        "time": "2023-11-14T22:13:30Z",
        "seconds": 10.0,
        "cpu": 50.0,
        "cpu_peak": 50.0,
        "memory_mb": 100.0,
        "memory_mb_peak": 100.0,
    }
    assert line(point).endswith("}\n")


def test_lines_that_cannot_be_read_are_left_out() -> None:
    (point,) = samples(1)
    assert parse(f'{line(point)}\n{{"time": 1\n[]\n{line(point)[:40]}') == [point]


def test_thinning_keeps_means_peaks_times_and_what_happened_between() -> None:
    points = samples(3000)
    points[1234] = UsagePoint.of_sample(START + 12350, seconds=10, cpu=400.0, memory_mb=9000.0)
    kept = parse(thinned(points))
    assert 500 < len(kept) < 2000
    assert max(point.cpu_peak for point in kept) == 400.0
    assert max(point.memory_mb_peak for point in kept) == 9000.0
    total = sum(point.seconds for point in kept)
    assert total == pytest.approx(30_000)
    mean = sum(point.cpu * point.seconds for point in kept) / total
    assert mean == pytest.approx(50 + 350 / 3000, rel=1e-3)
    assert kept[-1].time == points[-1].time
    assert [point.time for point in kept] == sorted(point.time for point in kept)


def test_a_week_of_samples_stays_small_and_evenly_spaced(tmp_path: Path) -> None:
    # As the usage does it, without sixty thousand files: a line at a time, thinned when too large.
    content = ""
    most = MOST_BYTES // 8
    for point in samples(60_480 // 8, seconds=80):
        content += line(point)
        if len(content) > most:
            content = thinned(parse(content), most)
    kept = parse(content)
    assert len(content) <= most
    assert len(kept) > 60
    assert sum(point.seconds for point in kept) == pytest.approx(7 * 24 * 3600)
    # Old times are as finely told as it goes, not ever more coarsely.
    assert max(point.seconds for point in kept) <= 8 * 1280


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(min_value=0.001, max_value=1e5),
            st.floats(min_value=0, max_value=1e4),
            st.floats(min_value=0, max_value=1e6),
        ),
        min_size=1,
        max_size=200,
    )
)
def test_thinning_always_ends_with_room_and_loses_no_time(
    readings: list[tuple[float, float, float]],
) -> None:
    points = [
        UsagePoint.of_sample(START + i, seconds=seconds, cpu=cpu, memory_mb=memory)
        for i, (seconds, cpu, memory) in enumerate(readings)
        if round(seconds, 3) > 0
    ]
    content = thinned(points, most_bytes=2000)
    assert len(content) <= 2000
    kept = parse(content)
    assert sum(point.seconds for point in kept) == pytest.approx(
        sum(point.seconds for point in points), abs=0.2
    )
    assert max((point.cpu_peak for point in kept), default=0) == max(
        (point.cpu for point in points), default=0
    )


def reading(at: int, cpu_seconds: int, mebibytes: int = 100) -> UsageReading:
    return UsageReading(
        at=START + at, cpu_total_ns=int(cpu_seconds * 1e9), memory_bytes=mebibytes * MEBIBYTE
    )


def measure(
    usage: UsageState, *readings: UsageReading, container: str = "one", started_at: float = START
) -> None:
    for each in readings:
        known = aggregate(usage.read("job"), each, container_id=container, started_at=started_at)
        if known is not None:
            usage.write("job", known)


def kept(usage: UsageState, folder: Path, container: str = "one") -> tuple[Any, ...]:
    metrics = usage.conclude("job", container, folder)
    return metrics, parse((folder / "metrics.jsonl").read_text())


def test_every_sample_is_kept_over_restarts_and_beside_the_log_at_the_end(tmp_path: Path) -> None:
    measure(UsageState(tmp_path / "usage"), reading(10, 5), reading(20, 15))
    measure(UsageState(tmp_path / "usage"), reading(20, 15), reading(50, 45))
    metrics, points = kept(UsageState(tmp_path / "usage"), tmp_path / "log")
    assert [(point.seconds, point.cpu) for point in points] == [(10, 50), (10, 100), (30, 100)]
    assert metrics.cpu_mean == pytest.approx(90)


@pytest.mark.spec("agent:152")
def test_the_samples_of_another_container_begin_afresh(tmp_path: Path) -> None:
    usage = UsageState(tmp_path / "usage")
    measure(usage, reading(10, 5), reading(20, 15))
    measure(usage, reading(40, 2), container="two", started_at=START + 30)
    metrics, points = kept(usage, tmp_path / "log", "two")
    assert [(point.seconds, point.cpu) for point in points] == [(10, 20)]
    assert (metrics.cpu_mean, metrics.cpu_peak) == (20, 20)
    # What was measured in another container is not told of this one.
    assert kept(usage, tmp_path / "other", "three") == (None, [])


def test_a_file_that_has_grown_too_large_is_thinned(tmp_path: Path) -> None:
    usage = UsageState(tmp_path / "usage")
    measure(usage, reading(10, 5))
    path = tmp_path / "usage" / "job.jsonl"
    path.write_text("".join(map(line, samples(2400))) + "damaged")
    assert path.stat().st_size > MOST_BYTES
    measure(usage, reading(20, 15))
    assert path.stat().st_size < MOST_BYTES
    usage.forget("job")
    assert list((tmp_path / "usage").iterdir()) == []


def test_samples_that_cannot_be_kept_harm_nothing(tmp_path: Path) -> None:
    usage = UsageState(tmp_path / "usage")
    measure(usage, reading(10, 5))
    (tmp_path / "log").write_text("a file where a folder should be")
    assert usage.conclude("job", "one", tmp_path / "log").cpu_mean == pytest.approx(50)
