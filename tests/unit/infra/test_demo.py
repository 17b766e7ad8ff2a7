"""The parts of the demo that need no running system."""

import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from infra.demo import DemoFailed, empty, make_repository

pytestmark = pytest.mark.unit


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_the_study_becomes_a_repository_with_one_commit_on_main(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A hook's variables point to another repository; they must not lead ours astray.
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    commit = make_repository(tmp_path / "study")
    monkeypatch.delenv("GIT_DIR")
    assert git(tmp_path / "study", "rev-parse", "main") == commit
    assert "project.yaml" in git(tmp_path / "study", "ls-files")
    assert git(tmp_path / "study", "status", "--porcelain") == ""


def test_a_folder_with_something_else_in_it_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DemoFailed, match="something else"):
        empty(tmp_path, Console(quiet=True))
    assert (tmp_path / "thesis.txt").is_file()
