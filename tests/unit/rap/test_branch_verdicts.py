"""Verdicts of one's own: kept for their RAP, bounded, forgotten, and never taken from elsewhere."""

import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rap.branch_verdicts import KEPT_S, LARGEST, BranchVerdicts, Verdict

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0


def verdict(**changes: Any) -> Verdict:
    facts = {"rap_id": "rap1", "repo_url": "https://x/y", "branch": "main", "commit": "a" * 40}
    return Verdict(**(facts | changes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state" / "verdicts"


def aged(folder: Path, seconds: float) -> None:
    """Make all verdicts older by so much, as the disk tells."""
    for path in folder.iterdir() if folder.exists() else ():
        changed = path.stat().st_mtime - seconds
        os.utime(path, (changed, changed))


def test_a_verdict_stands_also_for_the_next_process_and_for_nothing_else(folder: Path) -> None:
    assert not BranchVerdicts(folder).stands(verdict())
    BranchVerdicts(folder).keep(verdict())
    assert BranchVerdicts(folder).stands(verdict())
    for other in ({"rap_id": "rap2"}, {"repo_url": "https://x/z"}, {"branch": "b"}, {"commit": ""}):
        assert not BranchVerdicts(folder).stands(verdict(**other))
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]


def test_it_is_forgotten_when_it_is_old(folder: Path) -> None:
    verdicts = BranchVerdicts(folder)
    verdicts.keep(verdict(), now=NOW)
    assert verdicts.stands(verdict(), now=NOW + KEPT_S - 1)
    assert not verdicts.stands(verdict(), now=NOW + KEPT_S)
    aged(folder, KEPT_S + 60)
    verdicts.keep(verdict(rap_id="rap2"))
    assert len(list(folder.iterdir())) == 1
    assert verdicts.stands(verdict(rap_id="rap2"))


def test_no_more_than_so_many_are_kept_and_the_oldest_go(folder: Path) -> None:
    verdicts = BranchVerdicts(folder, most=3)
    for number in range(5):
        aged(folder, 1.0)
        verdicts.keep(verdict(rap_id=f"rap{number}"))
    assert [verdicts.stands(verdict(rap_id=f"rap{number}")) for number in range(5)] == [
        *(False, False),
        *(True, True, True),
    ]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"verdict": true, "at": 1}'])
def test_a_file_that_is_damaged_or_says_something_else_counts_for_nothing(
    folder: Path, content: bytes
) -> None:
    verdicts = BranchVerdicts(folder)
    verdicts.keep(verdict())
    (path,) = folder.iterdir()
    path.write_bytes(content)
    assert not verdicts.stands(verdict())


def test_a_verdict_under_the_name_of_another_counts_for_nothing(folder: Path) -> None:
    verdicts = BranchVerdicts(folder)
    verdicts.keep(verdict())
    (one,) = folder.iterdir()
    verdicts.keep(verdict(commit="b" * 40))
    (other,) = (path for path in folder.iterdir() if path != one)
    one.write_bytes(other.read_bytes())
    assert not verdicts.stands(verdict())


@pytest.mark.parametrize("changes", [{"rap_id": ""}, {"branch": "b" * LARGEST}])
def test_one_without_a_rap_or_of_no_sensible_size_is_not_kept(folder: Path, changes: Any) -> None:
    BranchVerdicts(folder).keep(verdict(**changes))
    assert not BranchVerdicts(folder).stands(verdict(**changes))
    assert not folder.exists()


def test_a_disk_that_takes_nothing_costs_no_more_than_the_verdict(folder: Path) -> None:
    folder.parent.mkdir()
    folder.touch()
    with capture_logs() as logs:
        BranchVerdicts(folder).keep(verdict())
    assert logs[0]["log_level"] == "warning"
    assert not BranchVerdicts(folder).stands(verdict())
