"""An environment of a test's own for commands that run in this process."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rap.records import Records
from rap.records.migrations import upgrade

_OURS = ("TEMPORAL_", "RAP_", "OTEL_", "TEST_", "TPP_", "FOO_", "BAR_", "DEFAULT_")
_OURS_TOO = ("BACKEND", "BACKENDS", "WORKDIR", "VERSION", "BACKUPS_PATH", "SUDO_USER")


@contextmanager
def alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In a folder, without any setting; logs stay as the test run has them."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(_OURS) or name in _OURS_TOO:
            del os.environ[name]
    monkeypatch.chdir(folder)
    monkeypatch.setattr("rap.telemetry.logs.configure", lambda *_: None)
    yield
    os.environ.clear()
    os.environ.update(before)


@contextmanager
def read_model(folder: Path) -> Iterator[Records]:
    """The read model that commands find in this environment."""
    url = f"sqlite:///{folder / 'records.sqlite'}"
    os.environ["RAP_DATABASE_URL"] = url
    upgrade(url)
    records = Records.connect(url)
    yield records
    records.close()
