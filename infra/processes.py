"""Starts, watches and ends the product's processes, for the demo, ``rap dev`` and tests.

A :class:`Stack` holds them in the order of starting and ends them in the reverse order, on every
way out. What an earlier run left behind (it was killed, the machine lost power) is ended first.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import IO, NoReturn, Self

from rap.errors import RapError

PROBE_EVERY_S = 30.0
LOOK_EVERY_S = 0.05

Echo = Callable[[str, str], None]
"""Takes the name of a process and a line of its output."""


class ProcessEnded(RapError):
    """A process that should run has ended."""


@dataclass
class Service:
    """A process of ours.

    Its output goes to ``log_path``. With ``echo`` each line goes there too, or only there if there
    is no ``log_path``.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str | None] = field(default_factory=dict)
    """Added to the environment of this process; ``None`` takes a variable away."""
    log_path: Path | None = None
    echo: Echo | None = None
    stop_limit_s: float = 20.0
    process: "subprocess.Popen[bytes] | None" = None
    """``None`` before its start and after its end."""

    started_at: float = 0.0
    """Of this machine's monotonic clock, in seconds."""

    def start(self) -> None:
        """Start the process; it may take its time to be ready."""
        with self._log() as log:
            output: IO[bytes] | int | None = subprocess.PIPE if self.echo else log
            # A session of its own: Ctrl-C reaches only the process that ends the stack in order.
            self.process = subprocess.Popen(  # noqa: S603  our own command
                list(self.argv),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                start_new_session=True,
            )
        self.started_at = time.monotonic()
        if self.echo and self.process.stdout:
            Thread(target=self._relay, args=(self.process.stdout, self.echo), daemon=True).start()

    @property
    def environment(self) -> dict[str, str]:
        """What its process is started with."""
        values = {**os.environ, **self.env}
        return {name: value for name, value in values.items() if value is not None}

    def stop(self) -> None:
        """End the process with SIGTERM; by force if it takes longer than the limit."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(self.stop_limit_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """End the process with SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def works(self) -> bool:
        """Whether it does what it is for, where that can be seen from outside."""
        return True

    def _log(self) -> AbstractContextManager[IO[bytes] | None]:
        if self.log_path is None:
            return nullcontext()
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        return self.log_path.open("ab", buffering=0)

    def _relay(self, source: IO[bytes], echo: Echo) -> None:
        with source, self._log() as log:
            for line in source:
                if log:
                    log.write(line)
                echo(self.name, line.decode(errors="replace").rstrip("\n"))


class Stack:
    """Processes that belong together. As a context manager it ends them all on leaving."""

    def __init__(self, members: Sequence[Service] = (), *, pids: Path | None = None) -> None:
        """Hold ``members``; with a folder ``pids`` what an earlier run left is found and ended."""
        self._members: dict[str, Service] = {}
        self._pids = pids
        for member in members:
            self.add(member)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Service]:
        return iter(self._members.values())

    def __getitem__(self, name: str) -> Service:
        return self._members[name]

    def add(self, member: Service) -> None:
        """Add a process after the others, without starting it."""
        self._members[member.name] = member

    def start(self) -> None:
        """End what an earlier run left, then start all processes that do not run."""
        self.end_left_overs()
        try:
            for member in self:
                if member.process is None:
                    self._start(member)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all processes, the last first. A second Ctrl-C ends the rest by force."""
        members = list(self)[::-1]
        try:
            for member in members:
                member.stop()
        except BaseException:
            for member in members:
                member.kill()
            raise
        finally:
            if self._pids:
                for file in self._pids.glob("*.pid"):
                    file.unlink(missing_ok=True)

    def restart(self, name: str) -> None:
        """Start one process again; if it still runs, it is ended gracefully first."""
        member = self._members[name]
        member.stop()
        self._start(member)

    def raise_if_ended(self) -> None:
        """See that every process that was started still runs.

        Raises:
            ProcessEnded: naming the one that does not, and where its log is.
        """
        for member, code in self._ended():
            where = f" Its log is {member.log_path}" if member.log_path else ""
            raise ProcessEnded(f"{member.name} has ended (exit {code}).{where}")

    def wait(self, report: Callable[[str], None], *, probe_every_s: float = PROBE_EVERY_S) -> None:
        """Wait until one of the processes ends.

        One that runs and does not work is started again meanwhile, and reported. It is asked twice:
        a busy machine is no reason.
        """
        probed_at = time.monotonic()
        while not self._ended():
            time.sleep(LOOK_EVERY_S)
            if time.monotonic() < probed_at + probe_every_s:
                continue
            for member in self:
                if member.process and not (member.works() or member.works()):
                    report(f"{member.name} answers, but does not work any more; starting it again")
                    self.restart(member.name)
            probed_at = time.monotonic()

    def keep_running(self, report: Callable[[str], None], *, short_life_s: float = 5) -> NoReturn:
        """Start again whatever ends by itself, and report it, until this is interrupted.

        Raises:
            ProcessEnded: one ended sooner after its start than ``short_life_s``.
        """
        while True:
            self.wait(report)
            for member, code in self._ended():
                if time.monotonic() - member.started_at < short_life_s:
                    self.raise_if_ended()
                report(f"{member.name} has ended (exit {code}); starting it again")
                self.restart(member.name)

    def _ended(self) -> list[tuple[Service, int]]:
        """What ended by itself, with its exit code; not what was stopped on purpose."""
        codes = [(member, member.process.poll()) for member in self if member.process]
        return [(member, code) for member, code in codes if code is not None]

    def end_left_overs(self) -> list[str]:
        """End what an earlier run of the same stack could not end; answers the names."""
        ended = []
        for file in sorted(self._pids.glob("*.pid")) if self._pids else ():
            pid, _, birth = file.read_text().partition(" ")
            # A number is used again; the time of birth tells whether it is the same process.
            if pid.isdigit() and birth and _birth(int(pid)) == birth:
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
                    ended.append(file.stem)
            file.unlink(missing_ok=True)
        return ended

    def _start(self, member: Service) -> None:
        member.start()
        if self._pids and member.process:
            self._pids.mkdir(parents=True, exist_ok=True)
            pid = member.process.pid
            (self._pids / f"{member.name}.pid").write_text(f"{pid} {_birth(pid)}")


def _birth(pid: int) -> str:
    """When a process started, in ticks since boot; empty if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
