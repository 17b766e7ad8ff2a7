"""Temporal's development server, with the settings that make it quick (architecture.md 5).

Used by the demo, the tests and ``rap dev``. In the foreground, until Ctrl-C or SIGTERM::

    python -m infra.temporal.dev_server --db temporal.db --port 7233 --ui-port 8233
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated

import typer

from infra.temporal.cli import resolve_cli, say
from rap.errors import RapError, Unavailable
from rap.temporal import SEARCH_ATTRIBUTES

HOST = "127.0.0.1"
START_LIMIT = 30.0
STOP_LIMIT = 10.0
RETENTION_HOURS = 720

DYNAMIC_CONFIG: dict[str, str] = {
    # The server has one shard and allows it 20 task hand-overs a second: every step of a quiet
    # system would wait 50 ms.
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
    "history.visibilityProcessorMaxPollRPS": "2000",
    # More partitions stall quiet queues for seconds, and make priorities approximate.
    "matching.numTaskqueueReadPartitions": "1",
    "matching.numTaskqueueWritePartitions": "1",
    "matching.enableFairness": "true",
    # Creates of one workspace queue up in its workflow; beyond this many they are turned away.
    "history.maxInFlightUpdates": "1000",
    # The development server reads the attributes anew for each list: five times slower.
    "system.forceSearchAttributesCacheRefreshOnRead": "false",
}
SQLITE_PRAGMAS: dict[str, str] = {"journal_mode": "wal", "synchronous": "1"}


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class DevServer:
    """A development server as a child process.

    Start and stop it by hand (a stopped or killed one starts again on the same port and file), or
    with :meth:`running`.
    """

    db: Path | None = None
    """SQLite file; ``None``: in memory, lost when the process ends."""
    port: int = field(default_factory=free_port)
    ui_port: int | None = None
    """Port of the Web UI; ``None``: no Web UI."""
    log_path: Path | None = None
    """File for the server's output; ``None``: this process's standard error."""
    log_level: str = "error"
    name: str = "temporal"
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def address(self) -> str:
        """What ``TEMPORAL_ADDRESS`` is to be."""
        return f"{HOST}:{self.port}"

    @property
    def ui_url(self) -> str | None:
        """Where the Web UI is."""
        return None if self.ui_port is None else f"http://{HOST}:{self.ui_port}"

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ConfigurationError: there is no Temporal command line.
            Unavailable: it ended at once, or does not answer within 30 s.
        """
        cli = resolve_cli()
        if self.db:
            self.db.parent.mkdir(parents=True, exist_ok=True)
        with _output(self.log_path) as output:
            # A session of its own: Ctrl-C in the terminal must not reach it before its clients.
            self.process = subprocess.Popen(  # noqa: S603  our own command
                self.command(cli),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_clean_environment(),
                start_new_session=True,
            )
        try:
            self._wait_until_it_answers(cli, self.process)
        except BaseException:
            self.stop()
            raise

    def command(self, cli: Path) -> list[str]:
        """The command line that starts the server."""
        command = [str(cli), "server", "start-dev", "--ip", HOST, "--port", str(self.port)]
        command += ["--log-level", self.log_level]
        if self.ui_port is None:
            command += ["--headless"]
        else:
            command += ["--ui-port", str(self.ui_port)]
        if self.db:
            command += ["--db-filename", str(self.db)]
            for name, value in SQLITE_PRAGMAS.items():
                command += ["--sqlite-pragma", f"{name}={value}"]
        for name, value in DYNAMIC_CONFIG.items():
            command += ["--dynamic-config-value", f"{name}={value}"]
        for name, kind in SEARCH_ATTRIBUTES.items():
            command += ["--search-attribute", f"{name}={kind}"]
        return command

    def stop(self) -> None:
        """End the server; by force if it takes longer than 10 s."""
        process = self.process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @contextmanager
    def running(self) -> Iterator["DevServer"]:
        """A started server, ended on leaving."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def _wait_until_it_answers(self, cli: Path, process: "subprocess.Popen[bytes]") -> None:
        # Setting how long closed workflows are kept is needed anyway, and proves that it answers.
        probe = [str(cli), "operator", "namespace", "update", "--namespace", "default"]
        probe += ["--retention", f"{RETENTION_HOURS}h", "--address", self.address]
        probe += ["--log-level", "never"]
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise Unavailable(
                    f"The Temporal server ended at once (exit {process.returncode}). Its port "
                    f"{self.port} may be taken, or its file {self.db} used by another server."
                )
            if _listens(self.port):
                done = subprocess.run(  # noqa: S603  our own command
                    probe, env=_clean_environment(), capture_output=True, check=False
                )
                # Another server on the port would answer as well, while ours gives up.
                if done.returncode == 0 and process.poll() is None:
                    return
            time.sleep(0.02)
        raise Unavailable(
            f"The Temporal server did not answer at {self.address} in {START_LIMIT:.0f} s."
        )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _clean_environment() -> dict[str, str]:
    """The environment without the settings that are meant for clients."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TEMPORAL_")}


@contextmanager
def _output(log: Path | None) -> Iterator[IO[bytes] | None]:
    if log is None:
        yield None
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        yield file


def main(
    db: Annotated[Path | None, typer.Option(help="SQLite file; without it: in memory.")] = None,
    port: Annotated[int, typer.Option(help="Port of the server.")] = 7233,
    ui_port: Annotated[int, typer.Option(help="Port of the Web UI; 0: no Web UI.")] = 8233,
    log_level: Annotated[str, typer.Option(help="debug, info, warn, error or never.")] = "error",
) -> None:
    """Run a Temporal development server until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = DevServer(db=db, port=port, ui_port=ui_port or None, log_level=log_level)
    try:
        with server.running():
            ui = f", Web UI {server.ui_url}" if server.ui_url else ""
            say(f"Temporal answers at {server.address}{ui}")
            code = server.process.wait() if server.process else 0
    except KeyboardInterrupt:
        return
    except RapError as error:
        say(str(error))
        sys.exit(1)
    say(f"The Temporal server ended (exit {code}).")
    sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
