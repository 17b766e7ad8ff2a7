"""What is said of a read model that cannot be used: real files, broken in real ways."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from rap.errors import ConfigurationError, Unavailable
from rap.records import Records, engine
from rap.records.migrations import is_current, upgrade
from rap.rows import IntentSettlement, IntentState
from tests.support.records import created, intent, rap_id

pytestmark = pytest.mark.unit

ONE = rap_id(1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "records.sqlite"
    upgrade(f"sqlite:///{path}")
    with opened(path) as records:
        records.record_jobs(created(ONE))
    return path


@contextmanager
def opened(path: Path) -> Iterator[Records]:
    records = Records.connect(f"sqlite:///{path}")
    try:
        yield records
    finally:
        records.close()


CALLS: list[Callable[[Records], object]] = [
    lambda records: records.read_status([ONE], ("test",)),
    lambda records: records.backends(("test",)),
    lambda records: records.rap(ONE),
    lambda records: records.announce(intent(ONE)),
    lambda records: records.settle(IntentSettlement(rap_id=ONE, state=IntentState.REFUSED)),
    lambda records: records.undecided(),
    lambda records: records.unfinished(),
    lambda records: records.check(),
]


def complaints(path: Path) -> set[str]:
    """What every call says."""
    said = set()
    for call in CALLS:
        with opened(path) as records, pytest.raises(Unavailable) as caught:
            call(records)
        said.add(str(caught.value))
    return said


def test_a_file_that_is_no_database_is_damaged(file: Path) -> None:
    file.write_bytes(os.urandom(100_000))
    (said,) = complaints(file)
    assert said.startswith(f"The read model {file} is damaged, or no database at all. ")
    assert "latest snapshot" in said
    with pytest.raises(Unavailable, match="is damaged"):
        upgrade(f"sqlite:///{file}")
    with pytest.raises(Unavailable, match="is damaged"):
        is_current(f"sqlite:///{file}")


def test_a_file_with_broken_pages_is_damaged(file: Path) -> None:
    with file.open("r+b") as broken:
        broken.seek(4096)
        broken.write(os.urandom(file.stat().st_size - 4096))
    (said,) = complaints(file)
    assert said.startswith(f"The read model {file} is damaged, or no database at all. ")


def test_a_file_that_breaks_while_it_is_open_is_damaged(file: Path) -> None:
    with opened(file) as records:
        records.check()
        file.write_bytes(os.urandom(100_000))
        for name in ("-wal", "-shm"):
            file.with_name(file.name + name).unlink(missing_ok=True)
        with pytest.raises(Unavailable, match="is damaged"):
            records.announce(intent(ONE))


@pytest.fixture
def locked(file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another process has the file for itself."""
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.2)
    program = (
        "import sqlite3, sys\n"
        "held = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "held.execute('PRAGMA locking_mode = EXCLUSIVE')\n"
        "held.execute('BEGIN EXCLUSIVE')\n"
        "print('locked', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield file
        process.communicate()


def test_a_file_that_another_process_keeps_locked_is_told_as_that(locked: Path) -> None:
    (said,) = complaints(locked)
    assert said.startswith(f"Another program keeps the read model {locked} locked. ")


def test_the_tables_of_another_application_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE job (name TEXT)")
        other.execute("CREATE TABLE song (title TEXT)")
    (said,) = complaints(path)
    assert said.startswith(f"The read model {path} does not have the tables of this version. ")
    assert "rap records upgrade" in said
    with pytest.raises(ConfigurationError, match="of another application"):
        upgrade(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as other:
        names = {name for (name,) in other.execute("SELECT name FROM sqlite_master")}
    assert names == {"job", "song"}


def test_a_file_of_a_later_version_is_told_as_that(file: Path) -> None:
    with closing(sqlite3.connect(file)) as later:
        later.execute("UPDATE alembic_version SET version_num = '9999'")
        later.execute("ALTER TABLE job RENAME COLUMN status_code TO code")
        later.commit()
    with opened(file) as records, pytest.raises(Unavailable, match="tables of this version"):
        records.check()
    with pytest.raises(ConfigurationError, match="later version of the product"):
        upgrade(f"sqlite:///{file}")


def test_a_row_that_this_version_cannot_read_is_told_as_that(file: Path) -> None:
    with closing(sqlite3.connect(file)) as later:
        later.execute("UPDATE job SET status_code = 'from_the_future'")
        later.commit()
    with opened(file) as records, pytest.raises(Unavailable, match="what this version cannot read"):
        records.rap(ONE)
