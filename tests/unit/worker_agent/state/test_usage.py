from pathlib import Path

import pytest

from worker_agent.engine.facts import UsageReading
from worker_agent.state.usage import MEBIBYTE, Usage, UsageState, aggregate

pytestmark = pytest.mark.unit


def reading(at: float, cpu_seconds: float, mebibytes: int) -> UsageReading:
    return UsageReading(
        at=at, cpu_total_ns=int(cpu_seconds * 1e9), memory_bytes=mebibytes * MEBIBYTE
    )


def usage_after(
    *readings: UsageReading,
    container: str = "one",
    started_at: float = 0.0,
    before: Usage | None = None,
) -> Usage:
    for each in readings:
        before = aggregate(before, each, container_id=container, started_at=started_at)
    assert before is not None
    return before


@pytest.mark.spec("agent:151")
def test_means_and_peaks_weigh_each_reading_by_the_time_it_stands_for() -> None:
    metrics = usage_after(reading(1.0, 0.5, 100), reading(2.0, 1.5, 1000)).metrics
    assert metrics.model_dump() == {
        "cpu_sample": 100.0,
        "cpu_peak": 100.0,
        "cpu_mean": 75.0,
        "cpu_cumsum": 150.0,
        "mem_mb_sample": 1000.0,
        "mem_mb_peak": 1000.0,
        "mem_mb_mean": 550.0,
        "mem_mb_cumsum": 1100.0,
    }


@pytest.mark.spec("agent:152")
def test_another_container_of_the_job_starts_afresh() -> None:
    old = usage_after(reading(1.0, 1.0, 1000))
    new = usage_after(reading(11.0, 0.5, 100), container="two", started_at=10.0, before=old)
    assert new.container_id == "two"
    assert (new.metrics.cpu_mean, new.metrics.mem_mb_peak) == (50.0, 100.0)


def test_the_figures_are_right_across_a_restart_of_the_agent(tmp_path: Path) -> None:
    before = usage_after(reading(10.0, 5.0, 100))
    UsageState(tmp_path).write("job", before)
    found = UsageState(tmp_path).read("job")
    after = usage_after(reading(40.0, 35.0, 100), before=found)
    assert after.metrics.cpu_sample == 100.0
    assert after.metrics.cpu_mean == pytest.approx(87.5)


def test_a_reading_before_any_time_has_passed_changes_nothing() -> None:
    assert aggregate(None, reading(5.0, 1, 1), container_id="one", started_at=5.0) is None
    before = usage_after(reading(6.0, 1, 1), started_at=5.0)
    same = aggregate(before, reading(6.0, 2, 2), container_id="one", started_at=5.0)
    assert same is before


@pytest.mark.spec("agent:156")
def test_missing_or_damaged_metrics_read_as_none(tmp_path: Path) -> None:
    usage = UsageState(tmp_path / "usage")
    assert usage.read("job") is None
    (tmp_path / "usage" / "job.json").write_text("{")
    assert usage.read("job") is None
    usage.forget("job")
    usage.forget("job")
    assert isinstance(usage_after(reading(1.0, 1, 1)), Usage)
