"""A Temporal server and a client of it, for tests."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from temporalio.client import Client

from infra.temporal.dev_server import DevServer
from rap.temporal.codec import DATA_CONVERTER


@contextmanager
def temporal_server(db: Path | None = None, *, log: Path | None = None) -> Iterator[DevServer]:
    """A development server on a free port, as the product runs it; in memory unless told."""
    with DevServer(db=db, log_path=log).running() as server:
        yield server


@asynccontextmanager
async def temporal_client(server: DevServer) -> AsyncIterator[Client]:
    """A client with the product's converter."""
    yield await Client.connect(server.address, data_converter=DATA_CONVERTER)
