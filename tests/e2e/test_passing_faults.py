"""What passes while a create is decided: it is never told as final, and its jobs appear."""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from infra.local_system import CONTROLLER
from rap import ids
from rap.git.process import TimeLimits
from rap.git.store import Store
from tests.support.live_system import LiveSystem, Study, eventually, write

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, images: None) -> Iterator[LiveSystem]:
    """One system for all tests of this module; each leaves it running."""
    system = LiveSystem(tmp_path_factory.mktemp("passing"))
    try:
        system.start()
        yield system
    finally:
        system.end()


@contextmanager
def asking(system: LiveSystem, study: Study, rap: str) -> Iterator["Future[httpx.Response]"]:
    """A create that is being answered."""
    with ThreadPoolExecutor(1) as client:
        yield client.submit(system.create, study, rap_id=rap)


def lock_of(system: LiveSystem, study: Study) -> Path:
    """What the controller's git takes before it fetches a study."""
    root = system.folder / "repos"
    root.mkdir(parents=True, exist_ok=True)
    return Store(root, TimeLimits()).path(study.url).with_suffix(".lock")


def has_open(system: LiveSystem, path: Path) -> bool:
    """Whether the controller has a file open."""
    process = system.stack[CONTROLLER].process
    assert process is not None
    folder = Path(f"/proc/{process.pid}/fd")
    return any(os.path.realpath(one) == str(path) for one in folder.iterdir())


@pytest.mark.spec("rap-api:88")
@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_controller_that_ends_while_it_reads_the_project_refuses_nothing(
    standing: LiveSystem, study: Callable[..., Study], end: str
) -> None:
    system, rap = standing, ids.random_rap_id()
    asked = study({"one": write("one")})
    path = lock_of(system, asked).resolve()
    with path.open("w") as lock, asking(system, asked, rap) as answering:
        fcntl.flock(lock, fcntl.LOCK_EX)
        eventually(lambda: has_open(system, path), "the project is read")
        controller = system.stack[CONTROLLER]
        (controller.kill if end == "killed" else controller.stop)()
        fcntl.flock(lock, fcntl.LOCK_UN)
        system.stack.restart(CONTROLLER)
        answer = answering.result()
    # On a slow machine the client may have gone before; what it must not hear is that it failed.
    assert answer.status_code in (201, 503)
    assert (answer.status_code == 201) == answer.headers["content-type"].startswith("application/")
    eventually(lambda: system.status(rap)["jobs"], "the job appears")
    assert system.status(rap)["unrecognised_rap_ids"] == []


@pytest.mark.spec("rap-api:88")
def test_a_read_model_that_is_locked_for_a_while_refuses_nothing(
    standing: LiveSystem, study: Callable[..., Study]
) -> None:
    system, rap = standing, ids.random_rap_id()
    file = system.database_url.partition("sqlite:///")[2]
    with (
        closing(sqlite3.connect(file, isolation_level=None, timeout=60)) as other,
        asking(system, study({"one": write("one")}), rap) as answering,
    ):
        other.execute("BEGIN IMMEDIATE")
        time.sleep(13)  # longer than a writer waits for another
        other.execute("ROLLBACK")
        answer = answering.result()
    assert answer.status_code in (201, 503)
    # One whose announcement could not be written is sent again by its client.
    if system.status(rap)["unrecognised_rap_ids"]:
        pytest.fail(f"the client would take it for failed: {answer.status_code}")
    eventually(lambda: system.status(rap)["jobs"], "the job appears")
