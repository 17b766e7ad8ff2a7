from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.client import Client

from infra.temporal.dev_server import DevServer
from rap.records import Records
from tests.support import histories, temporal
from tests.support.rap_system import RapSystem, StubProjects, controller


@pytest.fixture(scope="session")
def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    """One development server for all workflow tests of the session."""
    log = tmp_path_factory.mktemp("temporal") / "server.log"
    with temporal.temporal_server(log=log) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(temporal_server: DevServer) -> AsyncIterator[Client]:
    async with temporal.temporal_client(temporal_server) as client:
        yield client


@pytest.fixture(scope="session")
def projects() -> StubProjects:
    return StubProjects()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def records(
    client: Client, projects: StubProjects, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Records]:
    """The read model, written by one controller worker for all workflow tests of the session."""
    async with controller(client, tmp_path_factory.mktemp("records"), projects) as records:
        yield records


@pytest_asyncio.fixture
async def system(
    client: Client, records: Records, projects: StubProjects, request: pytest.FixtureRequest
) -> AsyncIterator[RapSystem]:
    """A backend of the test's own; whatever its workflows did is replayed afterwards."""
    slug = f"b{uuid4().hex[:10]}"
    yield RapSystem(client, records, projects, slug)
    made = await histories.histories_of(client, slug)
    for history in made:
        await histories.replayer().replay_workflow(history)
    folder = request.config.getoption("--record-histories")
    if folder:
        histories.record(made, Path(folder), request.node.name.removeprefix("test_"))
