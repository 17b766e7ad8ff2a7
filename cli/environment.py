"""Which system a command talks to: the one its environment names, else that of ``rap dev``.

``rap dev`` leaves its settings in ``env.json`` in its folder. The other commands fill in from
there what the environment leaves open, so that they need no settings in another terminal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rap.errors import ConfigurationError, Unavailable

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from rap.records import Records
    from rap.settings import CommonSettings

opened = ExitStack()
"""What the command of this process has opened, closed at its end."""
DEFAULT_FOLDER = Path("var/dev")
_FILE = "env.json"
_NAMES_A_SERVER = ("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE")


def enter(folder: Path | None) -> CommonSettings:
    """Get ready to talk to a system, by default that of ``var/dev``; the settings for it.

    Raises:
        ConfigurationError: a setting is wrong, or the folder is not one of ``rap dev``.
    """
    from rap.settings import CommonSettings, load
    from rap.telemetry import logs

    # The command tells its user itself what went wrong; others' logs would only say it twice.
    logs.configure("CRITICAL")
    left = read(folder or DEFAULT_FOLDER)
    if folder is not None and not left:
        raise ConfigurationError(
            f"{folder / _FILE} was not found: `rap dev --data {folder}` makes it when it starts."
        )
    named = any(os.environ.get(name) for name in _NAMES_A_SERVER)
    for name, value in left.items():
        # Settings of two servers do not mix: an address of one, the certificates of another.
        if named and name.startswith("TEMPORAL_"):
            continue
        if not os.environ.get(name):
            os.environ[name] = value
    return load(CommonSettings)


def read(folder: Path) -> dict[str, str]:
    """What ``rap dev`` left in its folder; empty if there is nothing."""
    path = folder / _FILE
    try:
        left = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{path} cannot be read ({type(error).__name__}); start `rap dev` again."
        ) from error
    return {str(name): str(value) for name, value in left.items()}


def write(folder: Path, settings: Mapping[str, str]) -> Path:
    """Leave settings for other commands. They hold a token: only the file's owner may read it."""
    return write_private(folder / _FILE, json.dumps(dict(settings), indent=2) + "\n")


def write_private(path: Path, text: str) -> Path:
    """Write a file for its owner's eyes, complete or not at all."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode=0o600)
    fresh.write_text(text)
    return fresh.replace(path)


def option(folder: Path | None) -> str:
    """How further commands are told of the folder: to be put behind them."""
    return "" if folder is None else f" --data {folder}"


def backend_of(given: str | None, settings: CommonSettings) -> str:
    """The backend a command is about: the one given, else that of ``BACKEND``, else ``test``.

    ConfigurationError if there is no such backend.
    """
    slug = (given or os.environ.get("BACKEND") or "test").lower()
    if slug not in settings.backends:
        allowed = ", ".join(settings.backends)
        raise ConfigurationError(f"Invalid backend '{slug}', allowed are: {allowed}")
    return slug


def backends_of(given: str | None, settings: CommonSettings) -> tuple[str, ...]:
    """The backend that was given, or all."""
    return (backend_of(given, settings),) if given else settings.backends


def records_url() -> URL:
    """Where the read model is, by ``RAP_DATABASE_URL``."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    from rap.settings import RecordsSettings, load

    try:
        url = make_url(load(RecordsSettings).url)
        url.get_dialect()
    except ArgumentError as error:
        raise ConfigurationError(
            "RAP_DATABASE_URL is not the URL of an SQLite or PostgreSQL database, such as "
            "sqlite:////srv/rap/records.sqlite or postgresql://user@host/rap"
        ) from error
    return url


def open_records() -> Records:
    """The read model, for reading, until the command ends; Unavailable if there is none."""
    from rap.records import Records

    url = records_url()
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        # Connecting would make an empty file, which helps nobody.
        raise Unavailable(
            f"There is no read model at {url.database}. Start the system (for development: "
            "`rap dev`), or name its read model with RAP_DATABASE_URL or its folder with --data."
        )
    records = Records.connect(url.render_as_string(hide_password=False))
    opened.callback(records.close)
    return records
