"""What the API counts, for Prometheus (docs/reference/api.md).

With several processes each writes what it counts into a folder, and the process that started them
serves the sum.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector

from rap.errors import ConfigurationError

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

REQUESTS = Counter(
    "rap_api_requests",
    "Answered requests.",
    ["endpoint", "method", "status"],
)
SECONDS = Histogram(
    "rap_api_request_seconds",
    "Time from a request's arrival to the last byte of its answer.",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25),
)
ORDERS = Counter(
    "rap_api_orders",
    "Orders to workspaces: what became of them.",
    ["order", "outcome"],
)


class Outcome(StrEnum):
    """What became of an order."""

    ANSWERED = "answered"
    FAILED = "failed"
    LOST = "lost"


@contextmanager
def served(address: tuple[str, int] | None, *, processes: int) -> Iterator[None]:
    """Serve the figures at ``address`` while a block starts and runs the API.

    Raises:
        ConfigurationError: nothing can listen there.
    """
    if address is None:
        yield
        return
    if processes == 1:
        with _listening(address, REGISTRY):
            yield
        return
    with tempfile.TemporaryDirectory(prefix="rap-api-figures-") as folder:
        # Read by the processes that are started from here, when they load the Prometheus client.
        os.environ[_FOLDER] = folder
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        try:
            with _listening(address, registry):
                yield
        finally:
            del os.environ[_FOLDER]


@contextmanager
def _listening(address: tuple[str, int], registry: CollectorRegistry) -> Iterator[None]:
    host, port = address
    try:
        server, _ = start_http_server(port, host, registry=registry)
    except OSError as error:
        raise ConfigurationError(
            f"RAP_API_METRICS_ADDRESS: {host} port {port} cannot be listened at: {error.strerror}"
        ) from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
