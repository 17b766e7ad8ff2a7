"""``rap dev``: the whole system in one terminal, until Ctrl-C."""

import asyncio
import fcntl
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from infra.images import build as images
from infra.local_system import AGENT, API, CONTROLLER, LocalSystem
from infra.processes import ProcessEnded
from infra.temporal.dev_server import HOST, free_port
from rap import ids, telemetry
from rap.cli import environment, show
from rap.cli.jobs import has_ended, jobs_of
from rap.cli.orders import connected
from rap.errors import ConfigurationError, RapError, Unavailable
from rap.records import Records
from rap.settings import CommonSettings, load

_COLOURS = {CONTROLLER: "cyan", AGENT: "green", API: "magenta"}
_WIDTH = max(map(len, _COLOURS))
_USERS = (
    "BACKENDS",
    "WORKDIR",
    "RAP_DATABASE_URL",
    "RAP_API_HOST",
    "HIGH_PRIVACY_STORAGE_BASE",
    "MEDIUM_PRIVACY_STORAGE_BASE",
    "HIGH_PRIVACY_ARCHIVE_DIR",
    "HIGH_PRIVACY_VOLUME_DIR",
    "ALLOW_LOCAL_GIT_REPOS",
    "USING_DUMMY_DATA_BACKEND",
)
"""Settings that stay as they are if the user has set them."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Ports:
    """Where the services listen; 0: any free port."""

    api: int
    temporal: int
    ui: int


def command(ports: Ports, *, data: Path | None, backend: str | None) -> int:
    """Carry out ``rap dev``; its exit code."""
    # Also when the terminal is closed, nothing may be left behind.
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler)
    telemetry.configure("CRITICAL")
    out = show.console()
    folder = (data or environment.DEFAULT_FOLDER).absolute()
    slug = environment.backend_of(backend, load(CommonSettings))
    images.connect().close()
    try:
        with _alone(folder):
            system = _system(folder, slug, ports, out)
            return _run(system, out)
    except KeyboardInterrupt:
        # Not for the user: that is how the system is ended.
        return 0


def _run(system: LocalSystem, out: Console) -> int:
    begin = time.monotonic()
    server = "" if system.temporal_address else "Temporal, "
    show.say(out, f"Starting {server}controller, agent and API in {system.folder} …")
    try:
        system.start()
        environment.write(system.folder, system.env)
        _tell_ready(system, out, time.monotonic() - begin)
        system.stack.wait()
        system.stack.check()
    except ProcessEnded as error:
        raise RapError(f"{error}\nThe other processes have been stopped.") from error
    except KeyboardInterrupt:
        with suppress(OSError):
            show.say(out, "\nStopping …")
        raise
    finally:
        system.stack.stop()
        with suppress(OSError):
            _tell_left(system, out)
    return 0


# --- what is started ---


def _system(folder: Path, backend: str, ports: Ports, out: Console) -> LocalSystem:
    """The system as the user's settings want it; nothing runs yet."""
    prefix = backend.upper()
    tokens = f"{prefix}_CLIENT_TOKENS"
    own = {
        "BACKEND": backend,
        "BACKENDS": backend,
        tokens: environment.read(folder).get(tokens) or secrets.token_hex(16),
        f"{prefix}_MAX_WORKERS": "4",
    }
    address = _running_temporal(ports)
    users = {*_USERS, tokens, f"{prefix}_MAX_WORKERS"} | (
        {"TEMPORAL_NAMESPACE"} if address else set()
    )
    given = {name: os.environ[name] for name in users if os.environ.get(name, "").strip()}
    settings = {**own, **given}
    return LocalSystem(
        folder,
        ui=True,
        echo=_Echo(out),
        overrides=settings,
        token=settings[tokens].split(",")[0],
        temporal_address=address,
        api_port=_port(ports.api, "API", "--port"),
        temporal_port=0 if address else _port(ports.temporal, "Temporal", "--temporal-port"),
        ui_port=0 if address else _port(ports.ui, "Temporal's Web UI", "--ui-port"),
    )


def _running_temporal(ports: Ports) -> str | None:
    """The server that ``TEMPORAL_ADDRESS`` names, if it runs; ``None``: start one.

    Raises:
        ConfigurationError: it names one that does not run, and not the one to be started.
    """
    address = os.environ.get("TEMPORAL_ADDRESS", "").strip()
    if not address:
        return None
    try:
        asyncio.run(connected())
    except Unavailable as error:
        if address in (f"{HOST}:{ports.temporal}", f"localhost:{ports.temporal}"):
            return None
        raise ConfigurationError(
            f"TEMPORAL_ADDRESS is {address}, and no Temporal server answers there. Start it, or "
            "unset TEMPORAL_ADDRESS to have one started."
        ) from error
    return address


def _port(wanted: int, what: str, option: str) -> int:
    """A port that can be listened on.

    Raises:
        ConfigurationError: somebody else listens there.
    """
    if wanted == 0:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise ConfigurationError(
                f"Port {wanted} for {what} cannot be used ({error.strerror}). Choose another with "
                f"{option}; 0 takes any free one."
            ) from error
    return wanted


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder against a second ``rap dev``, which would end the first one's processes.

    Raises:
        ConfigurationError: another one runs there, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "dev.lock").open("w")
    except OSError as error:
        raise ConfigurationError(
            f"{folder} cannot be written ({error.strerror}); choose another folder with --data."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"Another `rap dev` runs in {folder}. Stop it, or choose another folder with "
                "--data and other ports."
            ) from error
        yield


# --- what is told ---


class _Echo:
    """Prints the lines of the processes, each behind the name of its process."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._lock = threading.Lock()

    def __call__(self, name: str, line: str) -> None:
        text = Text.assemble((f"{name:<{_WIDTH}} | ", _COLOURS.get(name, "")), line)
        # A terminal that is gone must not hold up the process: the line is in its log too.
        with self._lock, suppress(OSError):
            self._out.print(text, soft_wrap=True)


def _tell_ready(system: LocalSystem, out: Console, seconds: float) -> None:
    header = environment.write_private(
        system.folder / "curl", f'header = "Authorization: {system.token}"\n'
    )
    default = environment.DEFAULT_FOLDER.absolute() == system.folder
    where = environment.option(None if default else system.folder)
    ui = system.server.ui_url if not system.temporal_address else None
    show.say(
        out,
        f"""
Ready after {seconds:.1f} s.
  API      {system.api_url}
  Web UI   {ui or f"that of the Temporal server at {system.temporal_address}"}
  Files    {system.folder}: logs, high_privacy, medium_privacy, and env.json with the settings

In another terminal:
  rap run PATH/OF/STUDY run_all{where}
  rap status{where}
  curl --config {header} {system.api_url}/controller/v1/backend/status/

Ctrl-C stops everything.
""",
    )


def _tell_left(system: LocalSystem, out: Console) -> None:
    """Name the containers that run on: they outlive the agent by design."""
    names = _running_containers(system)
    if names:
        show.say(
            out,
            f"These jobs run on in their containers, until `rap dev` takes them up again: {names}",
        )
    show.say(out, "Stopped.")


def _running_containers(system: LocalSystem) -> str:
    records = Records.connect(system.env["RAP_DATABASE_URL"])
    try:
        unfinished = [
            ids.container_name(job["identifier"])
            for job in jobs_of(records, records.latest_raps([system.env["BACKEND"]]))
            if not has_ended(job)
        ]
    finally:
        records.close()
    if not unfinished:
        return ""
    engine = images.connect()
    try:
        running = engine.containers.list(filters={"name": ids.CONTAINER_PREFIX})
    finally:
        engine.close()
    return ", ".join(sorted({str(one.name) for one in running} & set(unfinished)))
