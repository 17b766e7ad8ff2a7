from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from temporalio.client import Client

from infra.temporal.dev_server import DevServer
from tests.support import temporal


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
