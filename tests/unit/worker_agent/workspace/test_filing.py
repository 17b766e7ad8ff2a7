"""The intent of a filing: once it is on the disk all of it comes about, whoever is killed."""

import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rap.egress import Fault
from rap.errors import TransientFault
from rap.settings import AgentSettings
from tests.support.workspace import tree
from worker_agent import atomic_files
from worker_agent.workspace import filing
from worker_agent.workspace.filing import Area, Intent, Move
from worker_agent.workspace.locks import workspace_lock
from worker_agent.workspace.storage import Storage

pytestmark = pytest.mark.unit

NAME = "job1"
INTENT = Intent(
    workspace="ws",
    hidden=("old.csv", "out/a.csv.txt", "out"),
    files=(
        Move(Area.HIGH, "000000", "out/a.csv"),
        Move(Area.HIGH, "000001", "b.csv"),
        Move(Area.MEDIUM, "000000", "out/a.csv"),
        Move(Area.MEDIUM, "000001.txt", "b.csv.txt"),
    ),
    papers=(
        Move(Area.MEDIUM, "manifest.json", "metadata/manifest.json"),
        Move(Area.HIGH, "provenance.json", "metadata/provenance/job1.json"),
    ),
    record="2025-12/os-job-job1/metadata.json",
)


class Killed(BaseException):
    """As ``kill -9``: nothing is cleaned up on the way out."""


class Backend:
    """Only the folders."""

    def __init__(self, base: Path, workdir: str = "workdir") -> None:
        self.settings = AgentSettings(
            workdir=base / workdir,
            high_privacy_storage_base=base / "high",
            medium_privacy_storage_base=base / "medium",
        )
        self.storage = Storage(self.settings)
        self.high, self.medium = self.storage.high("ws"), self.storage.medium("ws")


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def stage(backend: Backend, name: str = NAME) -> None:
    """All that the intent moves, and what it hides."""
    for area, staged in (
        *((move.area, move.staged) for move in (*INTENT.files, *INTENT.papers)),
        (Area.HIGH, "metadata.json"),
    ):
        path = backend.storage.staging(name)[area is Area.MEDIUM] / staged
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"new {area} {staged}")
    for hidden in ("old.csv", "out/a.csv.txt"):
        path = backend.medium / hidden
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("old")


def state(backend: Backend) -> dict[str, str]:
    """Everything but locks and times."""
    return {
        str(path.relative_to(root)): path.read_text()
        for area in (backend.settings.high_privacy, backend.settings.medium_privacy)
        for root in (area,)
        for path in root.rglob("*")
        if path.is_file() and path.parent.name != "locks"
    } | {
        f"level 4: {path.relative_to(backend.medium)}": path.read_text()
        for path in backend.medium.rglob("*")
        if path.is_file()
    }


def file_it(backend: Backend, intent: Intent = INTENT, name: str = NAME) -> None:
    with workspace_lock(backend.storage, "ws"):
        filing.finish_begun(backend.storage, "ws")
        filing.begin(backend.storage, name, intent)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """How everything is when nothing went wrong."""
    undisturbed = Backend(tmp_path_factory.mktemp("undisturbed"))
    stage(undisturbed)
    file_it(undisturbed)
    return state(undisturbed)


def test_all_gets_its_name_and_nothing_is_left_aside(backend: Backend) -> None:
    stage(backend)
    file_it(backend)
    assert tree(backend.high) == {"out/a.csv", "b.csv", "metadata/provenance/job1.json"}
    assert tree(backend.medium) == {"out/a.csv", "b.csv.txt", "metadata/manifest.json"}
    assert (backend.storage.logs / INTENT.record).read_text() == "new high metadata.json"
    assert (backend.medium / "out/a.csv").read_text() == "new medium 000000"
    for folder in backend.storage.staging(NAME):
        assert not folder.exists()
    assert not filing.has_begun(backend.storage, NAME)


def steps_of(
    monkeypatch: pytest.MonkeyPatch, happens: Callable[[str], None]
) -> Callable[..., None]:
    """Call this before each change of names that a filing makes."""

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            happens(name)
            return real(*args, **options)

        return noted

    for name, real in (("replace", atomic_files.replace), ("write_file", atomic_files.write_file)):
        monkeypatch.setattr(filing, name, noting(name, real))
    monkeypatch.setattr(os, "unlink", noting("unlink", os.unlink))
    monkeypatch.setattr(os, "fsync", noting("fsync", lambda _: None))
    return monkeypatch.undo


STEPS = 25
"""At least so many changes does this filing make."""


def killed_at(backend: Backend, monkeypatch: pytest.MonkeyPatch, nth: int) -> bool:
    """Whether the filing was killed before its nth step; if not, it has fewer."""
    count = 0

    def happens(_: str) -> None:
        nonlocal count
        count += 1
        if count == nth:
            raise Killed

    undo = steps_of(monkeypatch, happens)
    try:
        file_it(backend)
    except Killed:
        return True
    finally:
        undo()
    return False


def test_there_are_no_more_steps_than_those_that_are_tried(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(backend)
    assert not killed_at(backend, monkeypatch, 2 * STEPS)


@pytest.mark.parametrize("nth", range(1, 2 * STEPS))
def test_what_was_begun_is_finished_wherever_it_was_killed(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, whole: dict[str, str], nth: int
) -> None:
    stage(backend)
    before = state(backend)
    killed = killed_at(backend, monkeypatch, nth)
    begun = filing.has_begun(backend.storage, NAME)
    if killed and not begun and not (backend.storage.logs / INTENT.record).exists():
        assert {name for name in state(backend) if ".tmp" not in name} == set(before)
        filing.discard_staged(backend.storage, NAME)
        assert not any(folder.exists() for folder in backend.storage.staging(NAME))
        return
    filing.discard_staged(backend.storage, NAME)  # of what has begun nothing goes
    # The one that finishes may be killed as well, at the same place and at another.
    with workspace_lock(backend.storage, "ws"):
        filing.finish_begun(backend.storage, "ws")
    filing.discard_staged(backend.storage, NAME)
    assert state(backend) == whole
    assert not filing.has_begun(backend.storage, NAME)


@pytest.mark.parametrize("nth", range(2, STEPS, 3))
@pytest.mark.parametrize("again", range(1, 8, 2))
def test_so_it_is_when_the_one_who_finishes_is_killed_too(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, whole: dict[str, str], nth: int, again: int
) -> None:
    stage(backend)
    killed_at(backend, monkeypatch, nth)
    if not filing.has_begun(backend.storage, NAME):
        return
    count = 0

    def happens(_: str) -> None:
        nonlocal count
        count += 1
        if count == again:
            raise Killed

    undo = steps_of(monkeypatch, happens)
    try:
        filing.finish_all_begun(backend.storage)
    except Killed:
        pass
    finally:
        undo()
    filing.finish_all_begun(backend.storage)
    filing.discard_staged(backend.storage, NAME)
    assert state(backend) == whole


def test_files_are_there_before_the_manifest_and_all_before_the_record(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(backend)
    order: list[str] = []
    real = atomic_files.replace

    def replace(staged_in: int, staged: str, folder: int, name: str) -> None:
        order.append(name)
        real(staged_in, staged, folder, name)

    monkeypatch.setattr(filing, "replace", replace)
    file_it(backend)
    assert order[:4] == ["a.csv", "b.csv", "a.csv", "b.csv.txt"]
    assert order[4] == "manifest.json"
    assert order[-1] == "metadata.json"


def test_a_full_disk_once_it_has_begun_passes(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, whole: dict[str, str]
) -> None:
    stage(backend)
    count = 0

    def happens(name: str) -> None:
        nonlocal count
        count += name == "replace"
        if count == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    undo = steps_of(monkeypatch, happens)
    with pytest.raises(TransientFault) as caught:
        file_it(backend)
    undo()
    assert caught.value.fault is Fault.DISK_FULL
    assert filing.is_begun_in(backend.storage, "ws")
    assert not filing.is_begun_in(backend.storage, "other")
    filing.finish_all_begun(backend.storage)
    assert state(backend) == whole


def test_what_is_in_the_way_of_a_filing_holds_it_up_until_it_is_gone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, whole: dict[str, str]
) -> None:
    stage(backend)
    (backend.high / "b.csv").mkdir(parents=True)
    with pytest.raises(TransientFault) as caught:
        file_it(backend)
    assert caught.value.fault is Fault.UNEXPECTED
    with capture_logs() as logged:
        filing.finish_all_begun(backend.storage)
    assert any("left for later" in line["event"] for line in logged)
    (backend.high / "b.csv").rmdir()
    filing.finish_all_begun(backend.storage)
    assert state(backend) == whole


def test_an_intent_that_cannot_be_read_is_not_passed_over(backend: Backend) -> None:
    stage(backend)
    (backend.storage.staging(NAME)[0] / "intent.json").write_text("{")
    with pytest.raises(TransientFault, match="cannot be read"):
        filing.finish_begun(backend.storage, "ws")


def test_logs_on_another_disk_get_their_record_all_the_same(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, whole: dict[str, str]
) -> None:
    stage(backend)
    real = atomic_files.replace

    def replace(staged_in: int, staged: str, folder: int, name: str) -> None:
        if name == "metadata.json":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(staged_in, staged, folder, name)

    monkeypatch.setattr(filing, "replace", replace)
    file_it(backend)
    assert state(backend) == whole


def test_the_filing_of_another_workspace_is_left_alone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage(backend)
    assert killed_at(backend, monkeypatch, 6)
    filing.finish_begun(backend.storage, "other")
    assert filing.has_begun(backend.storage, NAME)


# --- the lock ---


@pytest.fixture
def other_host(tmp_path: Path) -> Storage:
    return Backend(tmp_path, "other").storage


def test_hosts_with_one_storage_take_turns(backend: Backend, other_host: Storage) -> None:
    with workspace_lock(backend.storage, "ws"):
        (lock,) = other_host.locks.iterdir()
        with lock.open("r+b") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with workspace_lock(other_host, "ws"):
        assert list(other_host.locks.iterdir()) == [lock]


def test_moments_of_a_workspace_only_grow(
    backend: Backend, other_host: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = []
    for storage in (backend.storage, other_host):
        with workspace_lock(storage, "ws") as turn:
            moments += [turn.moment(), turn.moment()]
        monkeypatch.setattr(time, "time_ns", lambda: 5)
    assert moments == sorted(set(moments))
    assert moments[0] > 10**18
