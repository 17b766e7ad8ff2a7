"""One system for the lives of many requests, and job-server beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.live_system import BASE, Study, eventually, make_study
from tests.support.quick_system import QuickSystem
from tests.unit.api.client_replay.job_server import JobRequest, JobServer
from tests.unit.api.client_replay.line import Line, line_to

Ask = Callable[..., JobRequest]


@pytest.fixture(scope="session")
def system(quick_system: QuickSystem) -> QuickSystem:
    return quick_system


@pytest.fixture
def line(system: QuickSystem) -> Iterator[Line]:
    with line_to(system.api_port) as line:
        yield line


@pytest.fixture
def job_server(system: QuickSystem, line: Line) -> JobServer:
    return JobServer(f"http://127.0.0.1:{line.port}{BASE}/", system.token)


@pytest.fixture
def make(tmp_path: Path) -> Callable[[dict[str, Any]], Study]:
    """Makes studies."""
    return lambda actions: make_study(tmp_path / uuid4().hex, actions)


@pytest.fixture
def ask(job_server: JobServer) -> Ask:
    """Sends a request for actions of a study, in a workspace of its own unless told."""

    def ask(study: Study, *actions: str, **changes: Any) -> JobRequest:
        given = {"workspace": f"ws-{uuid4().hex[:12]}", **changes}
        request = JobRequest(
            repo_url=study.url, commit=study.commit, actions=list(actions), **given
        )
        return job_server.submit(request)

    return ask


def rounds_until(job_server: JobServer, true: Callable[[], object], what: str) -> None:
    """Let the status service go on until something is true."""

    def once() -> object:
        job_server.round()
        assert job_server.log == []
        return true()

    eventually(once, what)
