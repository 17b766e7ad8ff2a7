"""Starts, watches and ends the product's processes, for the demo, ``rap dev`` and tests.

A :class:`Stack` holds them in the order of starting and ends them in the reverse order, on every
way out. What an earlier run left behind (it was killed, the machine lost power) is ended first.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import IO, NamedTuple, NoReturn, Protocol, Self

from rap.errors import RapError

STOP_LIMIT = 20.0
_SHORT_LIFE = 5.0
Echo = Callable[[str, str], None]
"""Takes the name of a process and a line of its output."""


class ProcessEnded(RapError):
    """A process that should run has ended."""


class Member(Protocol):
    """What a stack can hold."""

    @property
    def name(self) -> str:
        """How logs and callers call it."""
        ...

    @property
    def log_path(self) -> Path | None:
        """The file with its output."""
        ...

    @property
    def process(self) -> "subprocess.Popen[bytes] | None":
        """The process while it runs; ``None`` before its start and after its end."""
        ...

    def start(self) -> None:
        """Start it."""
        ...

    def stop(self) -> None:
        """End it gracefully; nothing happens if it does not run."""
        ...

    def kill(self) -> None:
        """End it as a crash would."""
        ...


@dataclass
class Service:
    """One of our processes.

    Its output goes to ``log_path``. With ``echo`` each line goes there too, or only there if there
    is no ``log_path``.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str | None] = field(default_factory=dict)
    """Added to the environment of this process; ``None`` takes a variable away."""
    log_path: Path | None = None
    echo: Echo | None = None
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the process; it may take its time to be ready."""
        log = self._open_log()
        output: IO[bytes] | int | None = subprocess.PIPE if self.echo else log
        env = {**os.environ, **self.env}
        try:
            # A session of its own: Ctrl-C reaches only the process that ends the stack in order.
            self.process = subprocess.Popen(  # noqa: S603  our own command
                list(self.argv),
                env={name: value for name, value in env.items() if value is not None},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                start_new_session=True,
            )
        except BaseException:
            if log:
                log.close()
            raise
        if self.echo and self.process.stdout:
            reader = (self.process.stdout, log, self.echo)
            Thread(target=self._relay, args=reader, daemon=True).start()
        elif log:
            log.close()

    def stop(self) -> None:
        """End the process with SIGTERM; by force if it takes longer than 20 s."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """End the process with SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _open_log(self) -> IO[bytes] | None:
        if self.log_path is None:
            return None
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        return self.log_path.open("ab")

    def _relay(self, source: IO[bytes], log: IO[bytes] | None, echo: Echo) -> None:
        with source:
            for line in source:
                if log:
                    log.write(line)
                    log.flush()
                echo(self.name, line.decode(errors="replace").rstrip("\n"))
        if log:
            log.close()


def python_service(
    package: str,
    env: Mapping[str, str | None],
    *,
    name: str | None = None,
    log_path: Path | None = None,
    echo: Echo | None = None,
) -> Service:
    """One of our packages as a process, run by this interpreter."""
    return Service(name or package, (sys.executable, "-m", package), env, log_path, echo)


class Stack:
    """Processes that belong together. As a context manager it ends them all on leaving."""

    def __init__(self, members: Sequence[Member] = (), *, pids: Path | None = None) -> None:
        """Hold ``members``; with a folder ``pids`` what an earlier run left is found and ended."""
        self._members: dict[str, Member] = {}
        self._pids = pids
        for member in members:
            self.add(member)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __getitem__(self, name: str) -> Member:
        return self._members[name]

    def add(self, member: Member) -> None:
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

    def kill9(self, name: str) -> None:
        """End one process as a crash would."""
        self._members[name].kill()

    def restart(self, name: str) -> None:
        """Start one process again; if it still runs, it is ended gracefully first."""
        member = self._members[name]
        member.stop()
        self._start(member)

    def check(self) -> None:
        """See that every process that was started still runs.

        Raises:
            ProcessEnded: naming the one that does not, and where its log is.
        """
        for member in self:
            code = member.process.poll() if member.process else None
            if code is not None:
                where = f" Its log is {member.log_path}" if member.log_path else ""
                raise ProcessEnded(f"{member.name} has ended (exit {code}).{where}")

    def wait(self) -> str:
        """Wait until one of the processes ends, and answer its name."""
        ended: Queue[_End] = Queue()
        for member in self:
            _watch(member, ended)
        return ended.get().name

    def keep_running(self, tell: Callable[[str], None]) -> NoReturn:
        """Start again whatever ends by itself, until this is interrupted.

        Args:
            tell: is told about each.

        Raises:
            ProcessEnded: one ended within five seconds of its start.
        """
        ended: Queue[_End] = Queue()
        for member in self:
            _watch(member, ended)
        while True:
            end = ended.get()
            member = self._members[end.name]
            if member.process is not end.process:
                continue  # somebody stopped it on purpose
            if end.lived < _SHORT_LIFE:
                self.check()
            tell(f"{end.name} has ended (exit {end.process.returncode}); starting it again")
            self.restart(end.name)
            _watch(member, ended)

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

    def _start(self, member: Member) -> None:
        member.start()
        if self._pids and member.process:
            self._pids.mkdir(parents=True, exist_ok=True)
            pid = member.process.pid
            (self._pids / f"{member.name}.pid").write_text(f"{pid} {_birth(pid)}")


class _End(NamedTuple):
    name: str
    process: "subprocess.Popen[bytes]"
    lived: float


def _watch(member: Member, ended: "Queue[_End]") -> None:
    process, since = member.process, time.monotonic()
    if process is None:
        return

    def watch() -> None:
        process.wait()
        ended.put(_End(member.name, process, time.monotonic() - since))

    Thread(target=watch, daemon=True).start()


def _birth(pid: int) -> str:
    """When a process started, in ticks since boot; empty if it does not run."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
