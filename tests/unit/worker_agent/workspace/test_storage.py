"""Where things lie, and which names may become part of a path."""

import json
from pathlib import Path
from typing import Any

import pytest

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.settings import AgentSettings
from tests.support.workspace import Backend
from worker_agent.workspace import metadata
from worker_agent.workspace.storage import Storage

pytestmark = pytest.mark.unit


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def test_everything_has_its_place(tmp_path: Path) -> None:
    settings = AgentSettings(
        workdir=tmp_path / "work",
        high_privacy_storage_base=tmp_path / "high",
        medium_privacy_storage_base=tmp_path / "medium",
    )
    storage = Storage(settings)
    assert storage.volume("j") == tmp_path / "high/volumes/j"
    assert storage.mount_source("j") == tmp_path / "high/volumes/j"
    assert storage.high("ws") == tmp_path / "high/workspaces/ws"
    assert storage.medium("ws") == tmp_path / "medium/workspaces/ws"
    assert storage.state_dir == tmp_path / "work/state"
    assert storage.state_dir.is_dir()
    assert not (tmp_path / "high").exists()


def test_docker_is_given_the_volume_as_its_own_host_sees_it(tmp_path: Path) -> None:
    settings = AgentSettings(
        workdir=tmp_path,
        high_privacy_volume_dir=tmp_path / "inside",
        docker_host_volume_dir=tmp_path / "outside",
    )
    assert Storage(settings).volume("j") == tmp_path / "inside/j"
    assert Storage(settings).mount_source("j") == tmp_path / "outside/j"


@pytest.mark.spec("agent:115")
@pytest.mark.parametrize(
    ("created_at", "month"), [(1_767_225_599, "2025-12"), (1_767_225_600, "2026-01")]
)
def test_logs_are_in_the_month_of_creation_in_utc(
    backend: Backend, created_at: int, month: str
) -> None:
    folder = backend.storage.log_dir(backend.job(created_at=created_at))
    assert folder == backend.settings.high_privacy / f"logs/{month}/os-job-job1"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "../a", "/a", ".hidden", "a\0", "a\nb", "\ud800", "a" * 201]
)
def test_a_name_that_could_lead_elsewhere_never_becomes_a_path(backend: Backend, name: str) -> None:
    storage = backend.storage
    for method in (storage.volume, storage.mount_source, storage.high, storage.medium):
        with pytest.raises(PermanentFault) as caught:
            method(name)
        assert caught.value.fault is Fault.UNEXPECTED
    with pytest.raises(PermanentFault):
        storage.log_dir(backend.job(id=name))
    with pytest.raises(PermanentFault):
        storage.find_metadata(name)


def record(backend: Backend, month: str, job_id: str = "job1", **content: Any) -> Path:
    folder = backend.storage.logs / month / f"os-job-{job_id}"
    folder.mkdir(parents=True)
    path = folder / "metadata.json"
    path.write_text(json.dumps(content))
    return path


def test_metadata_is_found_in_any_month(backend: Backend) -> None:
    assert backend.storage.find_metadata("job1") is None
    path = record(backend, "2021-07")
    record(backend, "2021-08", job_id="job12")
    assert backend.storage.find_metadata("job1") == path


@pytest.mark.spec("agent:24")
def test_two_records_of_one_job_are_an_error_that_names_them(backend: Backend) -> None:
    paths = record(backend, "2021-07"), record(backend, "2021-08")
    with pytest.raises(PermanentFault, match="Expected at most one path, got: ") as caught:
        backend.storage.find_metadata("job1")
    assert all(str(path) in str(caught.value) for path in paths)


def test_damaged_metadata_counts_as_none(backend: Backend) -> None:
    path = record(backend, "2021-07")
    for content in ("", '{"outputs": {', "[]", "null", '{"outputs": 3}', "\xff"):
        path.write_text(content)
        assert metadata.load(backend.storage, "job1") is None


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zstd", ".tar.xz"])
def test_a_workspace_is_archived_when_only_its_archive_is_there(
    backend: Backend, suffix: str
) -> None:
    storage, archives = backend.storage, backend.settings.archive_dir
    archives.mkdir(parents=True)
    assert not storage.archived("my.ws")
    (archives / f"my{suffix}").touch()
    assert not storage.archived("my.ws")
    (archives / f"my.ws{suffix}").touch()
    assert storage.archived("my.ws")
    storage.high("my.ws").mkdir(parents=True)
    assert not storage.archived("my.ws")
