"""What the agent remembers of a run that is still going on."""

from pathlib import Path

import pytest

from worker_agent.state.runs import RunRecord, RunState

pytestmark = pytest.mark.unit


def test_what_was_seen_is_known_to_the_next_agent(tmp_path: Path) -> None:
    seen = RunRecord(container_id="c1", oom_kills=2, memory_peak_bytes=7, run_time_limit_s=60)
    RunState(tmp_path / "runs").write("j1", seen)
    assert RunState(tmp_path / "runs").read("j1", "c1") == seen


def test_what_was_seen_of_another_container_counts_for_nothing(tmp_path: Path) -> None:
    runs = RunState(tmp_path)
    runs.write("j1", RunRecord(container_id="c1", oom_kills=2))
    assert runs.read("j1", "c2") == RunRecord(container_id="c2")
    assert runs.read("j2", "c1") == RunRecord(container_id="c1")


@pytest.mark.parametrize("text", ["", "{", '{"container_id": 1}', "[]"])
def test_a_damaged_record_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "j1.json").write_text(text)
    assert RunState(tmp_path).read("j1", "c1") == RunRecord(container_id="c1")


def test_nothing_is_kept_of_a_job_that_is_over(tmp_path: Path) -> None:
    runs = RunState(tmp_path)
    runs.write("j1", RunRecord(container_id="c1"))
    runs.forget("j1")
    runs.forget("j1")
    assert list(tmp_path.iterdir()) == []
