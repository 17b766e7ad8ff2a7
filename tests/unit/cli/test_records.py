"""``rap records snapshot`` and ``upgrade --json`` (docs/spec/controller.md 15.5)."""

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from cli.main import run_app
from rap.errors import RapError
from rap.records import Records
from rap.records.snapshot import snapshot
from tests.support import command_line
from tests.support.records import created, rap_id

pytestmark = pytest.mark.unit

INSTANT = datetime(2025, 9, 10, 11, 12, 13, 999_999, UTC)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with command_line.alone(tmp_path, monkeypatch):
        yield


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with command_line.read_model(tmp_path) as records:
        yield records


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


def actions(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as copy:
        return [row[0] for row in copy.execute("select action from job order by action")]


@pytest.mark.spec("controller:183")
def test_a_snapshot_has_the_name_of_its_instant_and_replaces_earlier_ones(
    records: Records, tmp_path: Path, backups: Path
) -> None:
    (backups / "db.snapshot_2025-09-09_222000Z.sqlite").write_text("old")
    (backups / "notes.txt").write_text("not ours")
    records.record_jobs(created(rap_id(1), "a"))
    local = INSTANT.astimezone(timezone(timedelta(hours=5)))
    taken = snapshot(tmp_path / "records.sqlite", backups, local)
    assert taken == backups / "db.snapshot_2025-09-10_111213Z.sqlite"
    assert {path.name for path in backups.iterdir()} == {taken.name, "notes.txt"}
    assert actions(taken) == ["a"]


def test_a_snapshot_is_consistent_while_somebody_writes(
    records: Records, tmp_path: Path, backups: Path
) -> None:
    records.record_jobs(created(rap_id(1), "a"))
    with records._writing() as connection:
        connection.exec_driver_sql("update job set action = 'half done'")
        taken = snapshot(tmp_path / "records.sqlite", backups, INSTANT)
    assert actions(taken) == ["a"]
    assert stat.S_IMODE(taken.stat().st_mode) == stat.S_IMODE(
        (tmp_path / "records.sqlite").stat().st_mode
    )


def test_a_second_one_of_the_same_second_takes_the_place_of_the_first(
    records: Records, tmp_path: Path, backups: Path
) -> None:
    for name in ("a", "b"):
        records.record_jobs(created(rap_id(ord(name)), name))
        taken = snapshot(tmp_path / "records.sqlite", backups, INSTANT)
    assert actions(taken) == ["a", "b"]
    assert list(backups.iterdir()) == [taken]


def test_a_snapshot_that_fails_leaves_the_earlier_one_and_nothing_else(
    tmp_path: Path, backups: Path
) -> None:
    earlier = backups / "db.snapshot_2025-09-09_222000Z.sqlite"
    earlier.write_text("old")
    (tmp_path / "broken.sqlite").write_text("this is no database at all" * 100)
    with pytest.raises(RapError, match="Earlier ones are still there"):
        snapshot(tmp_path / "broken.sqlite", backups, INSTANT)
    assert list(backups.iterdir()) == [earlier]


@pytest.mark.spec("controller:183")
def test_without_the_folder_the_command_refuses_and_makes_none(
    records: Records, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ["WORKDIR"] = str(tmp_path / "work")
    assert run_app(["records", "snapshot"]) == 2
    assert capsys.readouterr().err == (
        f"BACKUPS_PATH does not exist: {tmp_path}/work/backups\n"
        "Refusing to run on the assumption that backups are misconfigured.\n"
    )
    assert not (tmp_path / "work").exists()


def test_the_command_says_what_it_wrote(
    records: Records, backups: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ["BACKUPS_PATH"] = str(backups)
    assert run_app(["records", "snapshot", "--json"]) == 0
    told = capsys.readouterr()
    (taken,) = backups.glob("db.snapshot_*Z.sqlite")
    assert json.loads(told.out)["snapshot"] == str(taken)
    assert told.err == f"Wrote {taken}\n"


def test_for_postgresql_the_command_names_the_right_tool_and_no_password(
    capsys: pytest.CaptureFixture[str],
) -> None:
    os.environ["RAP_DATABASE_URL"] = "postgresql://rap:secret@db/rap"
    assert run_app(["records", "snapshot"]) == 1
    told = capsys.readouterr().err
    assert "pg_dump" in told
    assert "secret" not in told


def test_a_file_that_is_not_there_is_not_made(
    tmp_path: Path, backups: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ.update(RAP_DATABASE_URL=f"sqlite:///{tmp_path}/none.sqlite")
    assert run_app(["records", "snapshot"]) == 1
    assert "There is no read model at" in capsys.readouterr().err
    assert list(backups.iterdir()) == []


def test_upgrade_as_a_document_says_whether_something_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/fresh.sqlite"
    os.environ["RAP_DATABASE_URL"] = url
    for changed in (True, False):
        assert run_app(["records", "upgrade", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"read_model": url, "changed": changed}
