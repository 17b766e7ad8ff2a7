"""Processes that belong together are started, watched and ended together."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from queue import Queue

import pytest

from infra.processes import ProcessEnded, Service, Stack

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]


def waiter(name: str, folder: Path, *, stubborn: bool = False) -> Service:
    """A process that says it is there, and waits; notes a graceful end in a file."""
    handler = "signal.SIG_IGN" if stubborn else "end"
    code = f"""
import os, pathlib, signal, sys, time
def end(*_):
    with open({str(folder / "ended")!r}, "a") as file:
        file.write({name!r} + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, {handler})
print("up", os.environ.get("GREETING"), flush=True)
time.sleep(600)
"""
    return Service(
        name, (sys.executable, "-c", code), {"GREETING": "hello"}, folder / f"{name}.log"
    )


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 20
    while not (path.exists() and text in path.read_text()):
        assert time.monotonic() < deadline, f"{path} never said {text!r}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_are_ended_gracefully_and_the_last_one_first(tmp_path: Path) -> None:
    with Stack([waiter("first", tmp_path), waiter("second", tmp_path)]):
        for name in ("first", "second"):
            wait_for(tmp_path / f"{name}.log", "up hello")
    assert (tmp_path / "ended").read_text() == "second\nfirst\n"


def test_all_are_ended_when_the_block_fails(tmp_path: Path) -> None:
    service = waiter("one", tmp_path)
    pids = []

    def fail_while_it_runs() -> None:
        with Stack([service]):
            wait_for(tmp_path / "one.log", "up")
            assert service.process
            pids.append(service.process.pid)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_while_it_runs()
    assert not alive(pids[0])


def test_one_that_does_not_start_ends_those_before_it(tmp_path: Path) -> None:
    first = waiter("first", tmp_path)
    stack = Stack([first, Service("second", ("/nowhere/program",))])
    with pytest.raises(FileNotFoundError):
        stack.start()
    assert first.process is None


def test_one_that_ignores_the_order_to_end_is_killed(tmp_path: Path) -> None:
    service = waiter("stubborn", tmp_path, stubborn=True)
    service.stop_limit_s = 0.2
    with Stack([service]):
        wait_for(tmp_path / "stubborn.log", "up")
        process = service.process
        assert process
    assert process.returncode == -signal.SIGKILL


def test_a_process_that_ended_by_itself_is_named_with_its_log(tmp_path: Path) -> None:
    service = Service("short", (sys.executable, "-c", "raise SystemExit(3)"), {}, tmp_path / "log")
    with Stack([service]) as stack:
        stack.wait(pytest.fail)
        with pytest.raises(ProcessEnded, match=r"short has ended \(exit 3\).*log"):
            stack.raise_if_ended()


def test_a_killed_process_runs_again_after_restart(tmp_path: Path) -> None:
    with Stack([waiter("one", tmp_path)]) as stack:
        wait_for(tmp_path / "one.log", "up")
        stack["one"].kill()
        stack.raise_if_ended()  # killed on purpose: no complaint
        (tmp_path / "one.log").unlink()
        stack.restart("one")
        wait_for(tmp_path / "one.log", "up")


def test_what_ends_by_itself_is_started_again() -> None:
    reported: list[str] = []

    def report(text: str) -> None:
        reported.append(text)
        if len(reported) == 2:
            raise KeyboardInterrupt

    service = Service("short", (sys.executable, "-c", "raise SystemExit(4)"))
    with Stack([service]) as stack, pytest.raises(KeyboardInterrupt):
        stack.keep_running(report, short_life_s=0)
    assert reported == ["short has ended (exit 4); starting it again"] * 2


def test_what_ends_at_once_is_not_started_again() -> None:
    reported: list[str] = []
    service = Service("short", (sys.executable, "-c", "raise SystemExit(4)"))
    with Stack([service]) as stack, pytest.raises(ProcessEnded):
        stack.keep_running(reported.append, short_life_s=60)
    assert reported == []


def test_what_runs_and_works_no_more_is_started_again_after_a_second_look(tmp_path: Path) -> None:
    class Stuck(Service):
        looks = iter([True, False, True, False, False])

        def works(self) -> bool:
            return next(self.looks)

    def report(text: str) -> None:
        reported.append((text, list(service.looks)))

    reported: list[tuple[str, list[bool]]] = []
    service = Stuck("deaf", (sys.executable, "-c", "import time; time.sleep(600)"))
    with Stack([service]) as stack:
        before = service.process
        with pytest.raises(StopIteration):
            stack.wait(report, probe_every_s=0)
        assert service.process is not before
    assert reported == [("deaf answers, but does not work any more; starting it again", [])]


def test_echo_gets_each_line_with_the_name_and_the_log_file_too(tmp_path: Path) -> None:
    lines: Queue[tuple[str, str]] = Queue()
    service = waiter("loud", tmp_path)
    service.echo = lambda name, line: lines.put((name, line))
    with Stack([service]):
        assert lines.get(timeout=20) == ("loud", "up hello")
        wait_for(tmp_path / "loud.log", "up hello")


def test_a_variable_can_be_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREETING", "inherited")
    service = waiter("one", tmp_path)
    service.env = {"GREETING": None}
    with Stack([service]):
        wait_for(tmp_path / "one.log", "up None")


def test_what_a_killed_run_left_behind_is_ended_by_the_next_one(tmp_path: Path) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from infra.processes import Service, Stack
sleeper = Service("sleeper", (sys.executable, "-c", "import time; time.sleep(600)"))
Stack([sleeper], pids=Path({str(tmp_path)!r})).start()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    pid = int((tmp_path / "sleeper.pid").read_text().split()[0])
    assert alive(pid)
    assert Stack(pids=tmp_path).end_left_overs() == ["sleeper"]
    assert Stack(pids=tmp_path).end_left_overs() == []


def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        (tmp_path / "old.pid").write_text(f"{stranger.pid} 1")
        assert Stack(pids=tmp_path).end_left_overs() == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
