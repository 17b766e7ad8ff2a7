"""Whether a job made a file, or only found it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from worker_agent.workspace import safe_paths
from worker_agent.workspace.untouched import FileState, laid_out, left_alone

pytestmark = pytest.mark.unit

FILES = ("odd/\xa0name", "a.csv", "b.txt", "output/c.csv", "output/deep/d.csv", "models/x/e.rds")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the contents of {name}\n")
    Path(os.fsdecode(os.fsencode(tmp_path / "odd") + b"/bad\xff")).write_text("x")
    (tmp_path / "output/link.csv").symlink_to(tmp_path / "a.csv")
    return tmp_path


def noted(volume: Path, *patterns: str) -> dict[str, FileState]:
    with safe_paths.directory(volume) as opened:
        found = laid_out(opened, patterns)
    latest = max((state.changed_ns for state in found.values()), default=0)
    probe = volume / "probe"
    while not probe.exists() or probe.stat().st_ctime_ns <= latest:
        probe.touch()  # the clock of a file system ticks slowly
    probe.unlink()
    return found


def same(volume: Path, before: dict[str, FileState]) -> set[str]:
    with safe_paths.directory(volume) as opened:
        return set(left_alone(opened, FILES, before))


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (["*.csv"], {"a.csv"}),
        (["output/*.csv", "output/c.csv"], {"output/c.csv"}),
        (["output/*/*", "models/*/e.rds"], {"output/deep/d.csv", "models/x/e.rds"}),
        (["none/*.csv", "a.csv/b"], set[str]()),
        ([], set[str]()),
        (["odd/*"], {"odd/\xa0name"}),
    ],
)
def test_only_ordinary_files_that_patterns_cover_are_noted(
    volume: Path, patterns: list[str], found: set[str]
) -> None:
    assert set(noted(volume, *patterns)) == found


def test_folders_to_which_no_pattern_leads_are_not_looked_at(
    volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[tuple[str, ...]] = []
    real = safe_paths.open_directory

    def open_directory(root: int, parts: tuple[str, ...]) -> object:
        looked_at.append(parts)
        return real(root, parts)

    monkeypatch.setattr(safe_paths, "open_directory", open_directory)
    noted(volume, "output/*.csv")
    assert looked_at == [(), ("output",)]


def test_files_that_nobody_changed_are_as_they_were(volume: Path) -> None:
    before = noted(volume, "*.csv", "output/*.csv")
    (volume / "output").rename(volume / "moved")
    (volume / "moved").rename(volume / "output")
    assert same(volume, before) == {"a.csv", "output/c.csv"}


def rewritten(path: Path) -> None:
    content, times = path.read_bytes(), path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def replaced(path: Path) -> None:
    path.with_name("new").write_bytes(path.read_bytes())
    path.with_name("new").replace(path)


def touched(path: Path) -> None:
    path.touch()


def made_another_s(path: Path) -> None:
    path.chmod(0o600)


@pytest.mark.parametrize("happens", [rewritten, replaced, touched, made_another_s, Path.unlink])
def test_a_file_that_was_touched_in_any_way_is_the_job_s(
    volume: Path, happens: Callable[[Path], None]
) -> None:
    before = noted(volume, "*.csv", "output/*.csv")
    happens(volume / "a.csv")
    assert same(volume, before) == {"output/c.csv"}


def test_a_file_that_was_not_there_before_is_the_job_s(volume: Path) -> None:
    before = noted(volume, "*.csv")
    assert same(volume, before) == {"a.csv"}
