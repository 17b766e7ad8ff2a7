"""``python -m api`` as a process: starting, answering without Temporal, leaving."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra.temporal.dev_server import free_port
from rap.records.migrations import is_current
from tests.unit.api.conftest import Caller, is_json

pytestmark = pytest.mark.unit


@contextmanager
def started(folder: Path, **env: Any) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "api"],
        env={**os.environ, "WORKDIR": str(folder), **env},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def log_until(process: subprocess.Popen[str], words: str) -> str:
    """What the process logs up to a line with these words."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            break
    else:
        pytest.fail("".join(["The process ended:\n", *lines]))
    return "".join(lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_makes_its_tables_serves_without_temporal_and_leaves_when_told(
    tmp_path: Path, number: signal.Signals
) -> None:
    port = free_port()
    env = {
        "RAP_API_PORT": str(port),
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        "TEST_CLIENT_TOKENS": "a-token",
    }
    with started(tmp_path / "new", **env) as process:
        log_until(process, "Uvicorn running")
        assert is_current(f"sqlite:///{tmp_path / 'new' / 'records.sqlite'}")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            caller = Caller(http, "a-token")
            assert caller.status() == {"jobs": [], "unrecognised_rap_ids": []}
            answers = [caller.create() for _ in range(2)]
        assert [answer.status_code for answer in answers] == [503, 503]
        assert not any(map(is_json, answers))
        process.send_signal(number)
        _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert log.count("Temporal did not answer") == 1, "an outage is told once"
    assert "a-token" not in log


def test_several_processes_serve_are_counted_together_and_replaced(tmp_path: Path) -> None:
    port, metrics = free_port(), free_port()
    env = {
        "RAP_API_PORT": str(port),
        "RAP_API_WORKERS": "2",
        "RAP_API_METRICS_ADDRESS": f"127.0.0.1:{metrics}",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        "TEST_CLIENT_TOKENS": "a-token",
        "TMPDIR": str(tmp_path),
    }

    def served_by(seen: str) -> list[int]:
        return [int(each) for each in re.findall(r"Started server process \[(\d+)\]", seen)]

    with started(tmp_path / "new", **env) as process:
        log = log_until(process, "Application startup complete")
        log += log_until(process, "Application startup complete")
        first, second = served_by(log)
        os.kill(first, signal.SIGKILL)
        log_until(process, "Application startup complete")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            for _ in range(20):
                assert Caller(http, "a-token").status()["jobs"] == []
        shown = httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    assert 'endpoint="/rap/status/",method="POST",status="200"} 20.0' in shown
    assert "a-token" not in log + rest
    assert f"Finished server process [{second}]" in rest
    assert not list(tmp_path.glob("rap-api-metrics-*"))


def test_it_waits_for_its_database_and_says_so_once(tmp_path: Path) -> None:
    url = f"postgresql://rap:secret@127.0.0.1:{free_port()}/rap"
    with started(tmp_path, RAP_DATABASE_URL=url) as process:
        log = log_until(process, "does not answer")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "does not answer" not in rest
    assert "secret" not in log + rest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RAP_API_PORT", "eighty"),
        ("RAP_API_WORKERS", "0"),
        ("RAP_API_METRICS_ADDRESS", "9466"),
        ("RAP_API_METRICS_ADDRESS", "192.0.2.1:9466"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, name: str, value: str) -> None:
    with started(tmp_path, **{name: value}) as process:
        _, log = process.communicate(timeout=60)
    assert process.returncode == 2
    assert name in log.splitlines()[0]
    assert "Traceback" not in log


def test_a_taken_port_is_an_error(tmp_path: Path, site: httpx.Client) -> None:
    with started(tmp_path, RAP_API_PORT=str(site.base_url.port)) as process:
        _, log = process.communicate(timeout=60)
    assert process.returncode not in (0, 2)
    assert "address already in use" in log
