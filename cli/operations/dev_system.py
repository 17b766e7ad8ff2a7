"""``rap dev``: the whole system on one machine, as its user's settings want it, until Ctrl-C."""

import asyncio
import fcntl
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from cli import environment
from cli.connection import connected
from cli.console import say, stdout
from infra.images import build as images
from infra.local_system import LocalSystem
from infra.processes import ProcessEnded
from infra.temporal.dev_server import free_port
from rap import ids
from rap.addresses import HOST
from rap.errors import ConfigurationError, RapError, Unavailable
from rap.records import Records

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

_COLOURS = {"controller": "cyan", "agent": "green", "api": "magenta"}
_WIDTH = max(map(len, _COLOURS))
_ONE_LINE_AT_A_TIME = threading.Lock()


def configured(
    folder: Path, backend: str, *, port: int, temporal_port: int, ui_port: int
) -> LocalSystem:
    """The system as the user's settings want it; nothing runs yet. Port 0: any free one."""
    prefix = backend.upper()
    tokens = f"{prefix}_CLIENT_TOKENS"
    own = {
        "BACKEND": backend,
        "BACKENDS": backend,
        tokens: environment.read(folder).get(tokens) or secrets.token_hex(16),
        f"{prefix}_MAX_WORKERS": "4",
    }
    address = _running_temporal(temporal_port)
    users = {*_USERS, tokens, f"{prefix}_MAX_WORKERS"} | (
        {"TEMPORAL_NAMESPACE"} if address else set()
    )
    given = {name: os.environ[name] for name in users if os.environ.get(name, "").strip()}
    settings = {**own, **given}
    return LocalSystem(
        folder,
        ui=True,
        echo=partial(_echo, stdout()),
        overrides=settings,
        token=settings[tokens].split(",")[0],
        temporal_address=address,
        api_port=_port(port, "API", "--port"),
        temporal_port=0 if address else _port(temporal_port, "Temporal", "--temporal-port"),
        ui_port=0 if address else _port(ui_port, "Temporal's Web UI", "--ui-port"),
    )


def _running_temporal(port: int) -> str | None:
    """The server that ``TEMPORAL_ADDRESS`` names; ``None``: start one, at this port."""
    address = os.environ.get("TEMPORAL_ADDRESS", "").strip()
    if not address:
        return None
    try:
        asyncio.run(connected())
    except Unavailable as error:
        if address in (f"{HOST}:{port}", f"localhost:{port}"):
            return None
        raise ConfigurationError(
            f"TEMPORAL_ADDRESS is {address}, and no Temporal server answers there. Start it, or "
            "unset TEMPORAL_ADDRESS to have one started."
        ) from error
    return address


def _port(wanted: int, what: str, option: str) -> int:
    """A port that nobody else listens on."""
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
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder against a second ``rap dev``, which would end the first one's processes."""
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


def run(system: LocalSystem) -> None:
    """Run the system until it is interrupted or one of its processes ends."""
    out, begin = stdout(), time.monotonic()
    server = "" if system.temporal_address else "Temporal, "
    say(out, f"Starting {server}controller, agent and API in {system.folder} …")
    try:
        system.start()
        environment.write(system.folder, system.env)
        say(out, _ready(system, time.monotonic() - begin))
        system.stack.wait(lambda text: say(out, text))
        system.stack.raise_if_ended()
    except ProcessEnded as error:
        raise RapError(f"{error}\nThe other processes have been stopped.") from error
    except KeyboardInterrupt:
        with suppress(OSError):
            say(out, "\nStopping …")
        raise
    finally:
        system.stack.stop()
        with suppress(OSError):
            names = ", ".join(_running_containers(system))
            if names:
                say(
                    out,
                    "These jobs run on in their containers, until `rap dev` takes them up again: "
                    f"{names}",
                )
            say(out, "Stopped.")


def _echo(out: Console, name: str, line: str) -> None:
    """Print a line of a process behind the name of the process."""
    text = Text.assemble((f"{name:<{_WIDTH}} | ", _COLOURS.get(name, "")), line)
    # A terminal that is gone must not hold up the process: the line is in its log too.
    with _ONE_LINE_AT_A_TIME, suppress(OSError):
        out.print(text, soft_wrap=True)


def _ready(system: LocalSystem, seconds: float) -> str:
    header = environment.write_private(
        system.folder / "curl", f'header = "Authorization: {system.token}"\n'
    )
    default = environment.DEFAULT_FOLDER.absolute() == system.folder
    where = environment.option(None if default else system.folder)
    ui = system.server.ui_url if not system.temporal_address else None
    return f"""
Ready after {seconds:.1f} s.
  API      {system.api_url}
  Web UI   {ui or f"that of the Temporal server at {system.temporal_address}"}
  Files    {system.folder}: logs, high_privacy, medium_privacy, and env.json with the settings

In another terminal:
  rap run PATH/OF/STUDY run_all{where}
  rap status{where}
  curl --config {header} {system.api_url}/controller/v1/backend/status/

Ctrl-C stops everything.
"""


def _running_containers(system: LocalSystem) -> list[str]:
    """The containers of its unfinished jobs that run: they outlive the agent by design."""
    records = Records.connect(system.env["RAP_DATABASE_URL"])
    try:
        unfinished = {
            ids.container_name(job.id)
            for rap_id in records.latest_raps([system.env["BACKEND"]])
            for job in records.rap(rap_id)
            if not job.status_code.is_final
        }
    finally:
        records.close()
    if not unfinished:
        return []
    engine = images.connect()
    try:
        running = engine.containers.list(filters={"name": ids.CONTAINER_PREFIX})
    finally:
        engine.close()
    return sorted({str(one.name) for one in running} & unfinished)
