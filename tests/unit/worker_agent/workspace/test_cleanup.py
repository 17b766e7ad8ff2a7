"""Removing volumes: everything goes, nothing else does, nothing raises."""

import os
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.support.workspace import Backend, tree
from worker_agent.workspace.cleanup import remove_volume
from worker_agent.workspace.prepare import is_complete
from worker_agent.workspace.removing import remove_tree

pytestmark = pytest.mark.unit


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def test_a_volume_is_removed_whatever_is_in_it(backend: Backend, tmp_path: Path) -> None:
    volume = backend.fill_volume(backend.job(), {"a/b/c.csv": "x", "locked/d.csv": "y"})
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.csv").write_text("kept")
    (volume / "link").symlink_to(outside)
    (volume / "broken").symlink_to("nowhere")
    os.mkfifo(volume / "pipe")
    Path(os.fsdecode(os.fsencode(volume) + b"/bad\xff\n")).write_text("x")
    (volume / "locked").chmod(0)
    volume.chmod(0)
    remove_volume(backend.storage, "job1")
    assert not volume.exists()
    assert tree(outside) == {"kept.csv"}


def test_what_was_being_made_for_a_job_is_removed_as_well(backend: Backend) -> None:
    storage = backend.storage
    left = [storage.unfinished("job1"), *storage.staging("job1")]
    other = backend.fill_volume(backend.job(id="job2"), {})
    for folder in left:
        folder.mkdir(parents=True)
        (folder / "a.csv").touch()
    remove_volume(storage, "job1")
    assert not any(folder.exists() for folder in left)
    assert other.exists()


@pytest.mark.spec("agent:140")
def test_removing_nothing_is_harmless_and_said_nowhere(backend: Backend) -> None:
    with capture_logs() as logged:
        remove_volume(backend.storage, "job1")
        remove_volume(backend.storage, "job1")
    assert logged == []


@pytest.mark.spec("agent:141")
def test_a_volume_that_cannot_be_removed_is_logged_and_no_longer_prepared(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = backend.fill_volume(backend.job(), {"stuck.csv": "x", "folder/gone.csv": "y"})
    real = os.unlink

    def unlink(name: Path | str, **options: Any) -> None:
        if name == "stuck.csv":
            raise PermissionError(1, "Operation not permitted")
        real(name, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    with capture_logs() as logged:
        remove_volume(backend.storage, "job1")
    (line,) = logged
    assert line["event"] == f"could not remove 1 files from {volume}: {volume}/stuck.csv"
    assert line["log_level"] == "error"
    assert tree(volume) == {"stuck.csv"}
    assert not is_complete(backend.storage, "job1")


def test_the_marker_goes_first(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    backend.fill_volume(backend.job(), {"a.csv": "x"})
    monkeypatch.setattr(os, "scandir", lambda _: (_ for _ in ()).throw(OSError(5, "I/O error")))
    with capture_logs() as logged:
        remove_volume(backend.storage, "job1")
    monkeypatch.undo()
    assert logged[0]["event"] == "Failed to cleanup job volume job1"
    assert not is_complete(backend.storage, "job1")


def test_a_name_that_is_no_job_removes_nothing(backend: Backend) -> None:
    with capture_logs() as logged:
        remove_volume(backend.storage, "../workspaces")
    assert logged[0]["event"].startswith("Failed to cleanup job volume")


def test_a_link_in_the_place_of_a_volume_is_removed_and_not_followed(
    backend: Backend, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    volume = backend.storage.volume("job1")
    volume.parent.mkdir(parents=True)
    volume.symlink_to(tmp_path / "outside")
    remove_volume(backend.storage, "job1")
    assert not volume.is_symlink()
    assert (tmp_path / "outside").is_dir()


def test_the_paths_of_what_could_not_be_removed_are_the_ones_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = tmp_path / "top/a/b/stuck"
    stuck.parent.mkdir(parents=True)
    stuck.touch()
    monkeypatch.setattr(os, "unlink", lambda *_, **__: (_ for _ in ()).throw(OSError(1, "no")))
    failed = remove_tree(tmp_path / "top")
    assert failed[0] == str(stuck)
