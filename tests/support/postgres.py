"""A throw-away PostgreSQL cluster for tests."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

SUPERUSER = "rap"


class Cluster:
    """A running cluster that listens on a socket in its own directory."""

    def __init__(self, binaries: Path, directory: Path) -> None:
        self._binaries = binaries
        self._directory = directory
        self._numbers = itertools.count(1)

    def create(self) -> None:
        """Make the files of the cluster."""
        self._run("initdb", "-D", "data", "-U", SUPERUSER, "-A", "trust", "--no-sync", "-E", "UTF8")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-k {self._directory} -c listen_addresses='' -c fsync=off"
        self._run("pg_ctl", "-D", "data", "-l", "log", "-w", "-o", options, "start")

    def stop(self) -> None:
        """Stop the server at once."""
        self._run("pg_ctl", "-D", "data", "-w", "-m", "immediate", "stop")

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"rap_{next(self._numbers)}"
        admin = psycopg.connect(
            host=str(self._directory), user=SUPERUSER, dbname="postgres", autocommit=True
        )
        with admin:
            admin.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://{SUPERUSER}@/{name}?host={self._directory}"

    def _run(self, program: str, *arguments: str) -> None:
        told = self._directory / f"{program}.out"
        with told.open("ab") as out:
            done = subprocess.run(
                [self._binaries / program, *arguments],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                **_unprivileged(),
            )
        if done.returncode:
            pytest.fail(
                f"{program} failed with status {done.returncode}:\n{told.read_text()}",
                pytrace=False,
            )


@contextmanager
def cluster() -> Iterator[Cluster]:
    """Run a cluster; its files are removed afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="rap-postgres-"))
    owner = _unprivileged()
    if owner:
        os.chown(directory, owner["user"], owner["group"])
    running = Cluster(_binaries(), directory)
    try:
        running.create()
        running.start()
        try:
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One cluster for the session."""
    with cluster() as running:
        yield running


def _binaries() -> Path:
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).resolve().parent
    versions = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3])
    )
    if not versions:
        pytest.fail(
            "PostgreSQL is needed for these tests: install it (Debian: `apt-get install "
            "postgresql`), or put its programs on PATH.",
            pytrace=False,
        )
    return versions[-1].parent


def _unprivileged() -> dict[str, Any]:
    """What makes a subprocess run as somebody whom PostgreSQL accepts: it refuses root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
