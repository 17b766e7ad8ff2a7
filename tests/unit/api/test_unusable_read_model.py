"""A read model that is damaged, locked or somebody else's: 503, one line in the log, not ready."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs

from rap.records import Records, engine
from tests.support.records import created, rap_id
from tests.unit.api.conftest import Caller, is_json, served

pytestmark = pytest.mark.unit

RAP = rap_id()


@pytest.fixture
def file(tmp_path: Path, records: Records) -> Path:
    records.record_jobs(created(RAP, "analyse"))
    records.close()
    return tmp_path / "records.sqlite"


@contextmanager
def damaged(file: Path) -> Iterator[str]:
    file.write_bytes(os.urandom(100_000))
    yield "is damaged, or no database at all"


@contextmanager
def somebody_elses(file: Path) -> Iterator[str]:
    file.unlink()
    with closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE song (title TEXT)")
    yield "does not have the tables of this version"


@contextmanager
def locked(file: Path) -> Iterator[str]:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield "Another program keeps the read model"


@pytest.mark.parametrize("broken", [damaged, somebody_elses, locked])
def test_every_endpoint_answers_503_and_the_log_tells_the_remedy_once(
    app: FastAPI,
    file: Path,
    broken: Callable[[Path], AbstractContextManager[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "BUSY_SECONDS", 0.2)
    with (
        broken(file) as said,
        capture_logs() as logs,
        served(app) as url,
        httpx.Client(base_url=url, timeout=60) as http,
    ):
        caller = Caller(http, "T-token")
        answers = [
            caller.post("rap/status/", {"rap_ids": [RAP]}),
            caller.create(),
            caller.cancel(RAP, "analyse"),
            caller.get("backend/status/"),
        ]
        assert http.get("/readyz").status_code == 503
        assert http.get("/healthz").status_code == 200
    for answer in answers:
        assert answer.status_code == 503
        assert not is_json(answer)
    told = [line["event"] for line in logs if line["log_level"] == "error"]
    assert len(told) == 1
    assert said in told[0]
    assert not [line for line in logs if line.get("exc_info")]
