"""Temporal's development server, with the settings that make it quick
(docs/explanation/temporal.md).

Used by the demo, the tests and ``rap dev``. In the foreground, until Ctrl-C or SIGTERM::

    python -m infra.temporal.dev_server --db temporal.db --port 7233 --ui-port 8233
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from infra.processes import Service, Stack
from infra.temporal.cli import resolve_cli, say
from rap.addresses import HOST, TEMPORAL_PORT, TEMPORAL_UI_PORT
from rap.errors import RapError, Unavailable
from rap.temporal.search_attributes import SEARCH_ATTRIBUTES

START_LIMIT = 30.0
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
    # Signals that come while a workflow task runs are kept; above this many the task is cut short.
    "history.maximumBufferedEventsBatch": "2000",
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
class DevServer(Service):
    """A development server as a child process.

    Start and stop it by hand (a stopped or killed one starts again on the same port and file), or
    with :meth:`running`.
    """

    db: Path | None = None
    """SQLite file; ``None``: in memory, lost when the process ends."""
    port: int = field(default_factory=free_port)
    ui_port: int | None = None
    """Port of the Web UI; ``None``: no Web UI."""
    log_level: str = "error"
    name: str = "temporal"
    argv: Sequence[str] = ()
    """Set by the start, which looks for the program."""
    env: Mapping[str, str | None] = field(default_factory=lambda: without_temporal_settings())
    stop_limit_s: float = 10.0
    write_limit_s: float = 20.0
    """How long a write may take on a busy machine."""

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
        self.argv = self.command(cli)
        super().start()
        try:
            self._wait_until_it_answers(cli)
        except BaseException:
            self.stop()
            raise

    def command(self, cli: Path) -> list[str]:
        """The command line that starts the server."""
        command = [str(cli), "server", "start-dev", "--ip", HOST, "--port", str(self.port)]
        command += ["--log-level", self.log_level]
        command += ["--headless"] if self.ui_port is None else ["--ui-port", str(self.ui_port)]
        named = {"dynamic-config-value": DYNAMIC_CONFIG, "search-attribute": SEARCH_ATTRIBUTES}
        if self.db:
            command += ["--db-filename", str(self.db)]
            named["sqlite-pragma"] = SQLITE_PRAGMAS
        for option, values in named.items():
            for name, value in values.items():
                command += [f"--{option}", f"{name}={value}"]
        return command

    @contextmanager
    def running(self) -> Iterator["DevServer"]:
        """A started server, ended on leaving."""
        self.start()
        try:
            yield self
        finally:
            self.stop()

    def works(self) -> bool:
        """Whether it can write: an SQLite driver that locked itself up still answers."""
        return self._writes(self.argv[0])

    def _writes(self, cli: str) -> bool:
        # Setting how long closed workflows are kept is needed anyway.
        probe = [cli, "operator", "namespace", "update", "--namespace", "default"]
        probe += ["--retention", f"{RETENTION_HOURS}h", "--address", self.address]
        probe += ["--log-level", "never"]
        try:
            done = subprocess.run(  # noqa: S603  our own command
                probe,
                env=self.environment,
                capture_output=True,
                check=False,
                timeout=self.write_limit_s,
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def _wait_until_it_answers(self, cli: Path) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            code = self.process.poll() if self.process else None
            if code is not None:
                raise Unavailable(
                    f"The Temporal server ended at once (exit {code}). Its port "
                    f"{self.port} may be taken, or its file {self.db} used by another server."
                )
            if _listens(self.port):
                writes = self._writes(str(cli))
                # Another server on the port would answer as well, while ours gives up.
                if writes and self.process and self.process.poll() is None:
                    return
            time.sleep(0.02)
        raise Unavailable(
            f"The Temporal server did not answer at {self.address} in {START_LIMIT:.0f} s."
        )


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def without_temporal_settings() -> dict[str, None]:
    """Takes from an environment the settings of clients, which are about other servers."""
    return dict.fromkeys(name for name in os.environ if name.startswith("TEMPORAL_"))


def main(
    db: Annotated[Path | None, typer.Option(help="SQLite file; without it: in memory.")] = None,
    port: Annotated[int, typer.Option(help="Port of the server.")] = TEMPORAL_PORT,
    ui_port: Annotated[
        int, typer.Option(help="Port of the Web UI; 0: no Web UI.")
    ] = TEMPORAL_UI_PORT,
    log_level: Annotated[str, typer.Option(help="debug, info, warn, error or never.")] = "error",
) -> None:
    """Run a Temporal development server until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = DevServer(db=db, port=port, ui_port=ui_port or None, log_level=log_level)
    try:
        with Stack([server]) as stack:
            ui = f", Web UI {server.ui_url}" if server.ui_url else ""
            say(f"Temporal answers at {server.address}{ui}")
            stack.keep_running(say)
    except KeyboardInterrupt:
        return
    except RapError as error:
        say(str(error))
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
