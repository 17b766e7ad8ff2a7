"""What tells one storage from another."""

import re
from pathlib import Path

import pytest

from worker_agent.workspace.storage_id import storage_id

pytestmark = pytest.mark.unit


def test_an_id_is_drawn_once_and_stays(tmp_path: Path) -> None:
    first = storage_id(tmp_path)
    assert first is not None
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert storage_id(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [".storage-id"]


def test_two_storages_have_two_ids(tmp_path: Path) -> None:
    assert storage_id(tmp_path / "a") != storage_id(tmp_path / "b")


def test_of_two_hosts_that_draw_at_once_both_get_that_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = storage_id(tmp_path)
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert storage_id(tmp_path) == first


def test_a_disk_that_does_not_obey_has_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert storage_id(tmp_path / "file") is None
