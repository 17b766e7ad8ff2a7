"""The API over real HTTP, with a real read model; only what Temporal would answer is scripted."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
import uvicorn
from fastapi import FastAPI

from api.app import create_app
from rap.messages.workspaces import (
    CancelAnswer,
    CancelRequest,
    CreateAnswer,
    CreateOutcome,
    SettleAnswer,
    SettleRequest,
)
from rap.models import CreateRequest
from rap.records import Records
from rap.records.migrations import upgrade
from rap.rows import IntentSettlement, IntentState
from rap.settings import ApiSettings
from tests.support.factories import COMMIT, REPO
from tests.support.records import created, rap_id
from workflows.client import OrderLost, TemporalOrchestrator

TOKENS = {"T-token": ("test",), "M-token": ("test", "tpp"), "P-token": ("tpp",)}
BASE = "/controller/v1"


@dataclass
class ScriptedOrchestrator(TemporalOrchestrator):
    """What the workspaces answer: they accept every request, until told otherwise."""

    records: Records
    actions: tuple[str, ...] = ("generate", "analyse")
    answer: CreateAnswer | Exception | None = None
    settled: SettleAnswer | Exception = field(
        default_factory=lambda: SettleAnswer(state=IntentState.REFUSED)
    )
    cancelled: CancelAnswer | Exception = field(default_factory=lambda: CancelAnswer(cancelled=1))
    settles_refused: bool = False
    """Whether what the answer says is also written to the read model, as a workspace does."""
    silent: bool = False
    creates: list[CreateRequest] = field(default_factory=list)
    cancels: list[tuple[str, str, CancelRequest]] = field(default_factory=list)
    settles: list[tuple[str, str, SettleRequest]] = field(default_factory=list)

    async def create(self, request: CreateRequest) -> CreateAnswer:
        self.creates.append(request)
        await self._hang()
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            if self.settles_refused:
                end = IntentSettlement(rap_id=request.rap_id, state=IntentState.REFUSED)
                await asyncio.to_thread(self.records.settle, end)
            return self.answer
        rows = created(request.rap_id, *self.actions, backend=request.backend)
        await asyncio.to_thread(self.records.record_jobs, rows)
        return CreateAnswer(outcome=CreateOutcome.CREATED, count=len(self.actions))

    async def cancel(self, backend: str, workspace: str, request: CancelRequest) -> CancelAnswer:
        self.cancels.append((backend, workspace, request))
        await self._hang()
        if isinstance(self.cancelled, Exception):
            raise self.cancelled
        return self.cancelled

    async def settle(self, backend: str, workspace: str, request: SettleRequest) -> SettleAnswer:
        self.settles.append((backend, workspace, request))
        if isinstance(self.settled, Exception):
            raise self.settled
        return self.settled

    async def _hang(self) -> None:
        if self.silent:
            await asyncio.Event().wait()


@pytest.fixture(scope="session", autouse=True)
def _short_tracebacks() -> Iterator[None]:
    """The default of structlog shows all variables of a traceback, which takes seconds."""
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(),
        ]
    )
    yield
    structlog.configure(**before)


LOST = OrderLost("Temporal did not answer.")


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """Serve an application on a free port; yields its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, server_header=False, lifespan="on")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        # The socket listens from the moment the server has started.
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(transport=httpx.HTTPTransport(retries=8)) as client:
            client.get(url)
        yield url
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """An API for requests that change nothing, shared by all tests."""
    url = f"sqlite:///{tmp_path_factory.mktemp('site') / 'records.sqlite'}"
    upgrade(url)
    records = Records.connect(url)
    app = create_app(ApiSettings(), records, ScriptedOrchestrator(records), tokens=TOKENS)
    with served(app) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client
    records.close()


@pytest.fixture
def records_url(tmp_path: Path) -> str:
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    upgrade(url)
    return url


@pytest.fixture
def records(records_url: str) -> Iterator[Records]:
    opened = Records.connect(records_url)
    yield opened
    opened.close()


@pytest.fixture
def orchestrator(records: Records) -> ScriptedOrchestrator:
    return ScriptedOrchestrator(records)


@pytest.fixture
def settings() -> ApiSettings:
    return ApiSettings()


@pytest.fixture
def app(settings: ApiSettings, records: Records, orchestrator: ScriptedOrchestrator) -> FastAPI:
    return create_app(settings, records, orchestrator, tokens=TOKENS)


@pytest.fixture
def http(app: FastAPI) -> Iterator[httpx.Client]:
    """Whoever has no token."""
    with served(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


class Caller:
    """Calls the endpoints as the owner of a token."""

    def __init__(self, http: httpx.Client, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": token}

    def get(self, path: str) -> httpx.Response:
        return self._http.get(f"{BASE}/{path}", headers=self._headers)

    def post(self, path: str, body: Any = None, **other: Any) -> httpx.Response:
        headers = {**self._headers, **other.pop("headers", {})}
        if "content" not in other:
            other["json"] = body
        return self._http.post(f"{BASE}/{path}", headers=headers, **other)

    def create(self, **values: Any) -> httpx.Response:
        return self.post("rap/create/", create_body(**values))

    def cancel(self, rap: str, *actions: str) -> httpx.Response:
        return self.post("rap/cancel/", {"rap_id": rap, "actions": list(actions)})

    def status(self, *raps: str) -> dict[str, Any]:
        answer = self.post("rap/status/", {"rap_ids": list(raps)})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture
def t(http: httpx.Client) -> Caller:
    """A client of backend `test` alone."""
    return Caller(http, "T-token")


@pytest.fixture
def m(http: httpx.Client) -> Caller:
    """A client of `test` and `tpp`."""
    return Caller(http, "M-token")


@pytest.fixture
def p(http: httpx.Client) -> Caller:
    """A client of `tpp` alone."""
    return Caller(http, "P-token")


def create_body(**values: Any) -> dict[str, Any]:
    """A valid create request; a member given as ``...`` is left out."""
    body = {
        "backend": "test",
        "rap_id": rap_id(),
        "workspace": "workspace",
        "repo_url": REPO,
        "branch": "main",
        "commit": COMMIT,
        "database_name": "default",
        "requested_actions": ["analyse"],
        "codelists_ok": True,
        "force_run_dependencies": False,
        "created_by": "somebody",
        "project": "project",
        "orgs": ["org"],
        **values,
    }
    return {name: value for name, value in body.items() if value is not ...}


def is_json(answer: httpx.Response) -> bool:
    try:
        answer.json()
    except ValueError:
        return False
    return True
