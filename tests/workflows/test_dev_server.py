"""A Temporal server that answers and cannot write, and what notices it."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from api.app import create_app
from cli.operations.doctor import Doctor
from infra.processes import Stack
from infra.temporal.dev_server import DevServer
from rap.errors import Unavailable
from rap.findings import Level
from rap.records import Records
from rap.records.migrations import upgrade
from rap.settings import AgentSettings, ApiSettings, ControllerSettings
from rap.temporal.health import CANNOT_WORK, Condition, Watch, condition_of
from worker_agent.operations import checklist_services
from workflows.client import TemporalOrchestrator

pytestmark = pytest.mark.workflows


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DevServer]:
    """One of the test's own, to be harmed."""
    server = DevServer(db=tmp_path / "temporal.sqlite", log_path=tmp_path / "log", write_limit_s=60)
    with server.running():
        yield server


@contextmanager
def locked(server: DevServer) -> Iterator[sqlite3.Connection]:
    """Keep the server's file for ourselves, as a driver does that has locked itself up."""
    other = sqlite3.connect(server.db or "", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield other
    finally:
        if other.in_transaction:
            other.execute("ROLLBACK")
        other.close()


def test_a_server_that_answers_and_cannot_write_is_found_out(server: DevServer) -> None:
    assert server.works()
    server.write_limit_s = 5
    with locked(server):
        assert not server.works()
        assert server.process is not None
        assert server.process.poll() is None
    server.write_limit_s = 60
    assert server.works()


def test_a_server_that_cannot_write_is_started_again(server: DevServer, tmp_path: Path) -> None:
    stack, reports, first = Stack([server]), list[str](), server.process
    assert first is not None
    is_back = threading.Event()
    start = server.start

    def start_and_tell() -> None:
        start()
        is_back.set()

    server.start = start_and_tell  # type: ignore[method-assign]
    server.write_limit_s = 5
    with locked(server) as lock:

        def report(text: str) -> None:
            # What the old process had locked goes with it.
            reports.append(text)
            server.write_limit_s = 60
            lock.execute("ROLLBACK")

        waiting = threading.Thread(
            target=lambda: stack.wait(report, probe_every_s=1.0), daemon=True
        )
        waiting.start()
        assert is_back.wait(120)
    second = server.process
    assert second is not None
    assert second.pid != first.pid
    assert first.poll() is not None
    assert reports == ["temporal answers, but does not work any more; starting it again"]
    assert server.works()
    # The end of a process is what the stack waits for.
    second.kill()
    waiting.join(60)
    assert not waiting.is_alive()


async def test_every_process_sees_whether_temporal_can_work(server: DevServer) -> None:
    client = await Client.connect(server.address)
    assert await condition_of(client) is Condition.WORKS
    with locked(server):
        assert await condition_of(client) is Condition.CANNOT_WORK
    assert await condition_of(client) is Condition.WORKS
    server.stop()
    assert await condition_of(client) is Condition.AWAY


async def test_a_server_that_was_never_there_is_away_not_broken() -> None:
    async def connect() -> Client:
        raise Unavailable("nobody there")

    watch = Watch(connect)
    await watch.look()
    assert watch.condition is Condition.AWAY


async def test_the_check_up_of_an_agents_host_says_so(
    server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", server.address)
    settings = AgentSettings(backend="test")
    with locked(server):
        (finding,) = await checklist_services.temporal(settings)
    assert (finding.level, finding.text) == (Level.PROBLEM, CANNOT_WORK)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    upgrade(url)
    records = Records.connect(url)
    yield records
    records.close()


async def test_the_probe_of_the_api_says_so_and_stays_ready(
    server: DevServer, records: Records
) -> None:
    watch = Watch(lambda: Client.connect(server.address))
    orchestrator = TemporalOrchestrator(lambda: Client.connect(server.address), within=5)
    settings = ApiSettings(rap_api_allowed_hosts=("*",))
    app = create_app(settings, records, orchestrator, tokens={}, temporal=watch)
    api = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")
    async with api:
        await watch.look()
        assert (await api.get("/readyz")).text == "ok\n"
        with locked(server):
            await watch.look()
            answer = await api.get("/readyz")
            assert (answer.status_code, answer.text) == (200, f"ok\n{CANNOT_WORK}\n")
        await watch.look()
        assert (await api.get("/readyz")).text == "ok\n"


async def test_the_doctor_says_so_and_nothing_else(server: DevServer, records: Records) -> None:
    client = await Client.connect(server.address)
    doctor = Doctor(client, records, ControllerSettings(backends=("test",)), mend=True)
    with locked(server):
        (finding,) = await doctor.examine()
    assert finding.level is Level.PROBLEM
    assert CANNOT_WORK in finding.text
