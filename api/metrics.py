"""What the API counts, for Prometheus (docs/reference/api.md).

With several processes each writes what it counts into a folder, and the process that started them
serves the sum.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

from rap.errors import ConfigurationError
from workflows.client import OrderOutcome

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

REQUESTS = Counter("rap_api_requests", "Answered requests.", ["endpoint", "method", "status"])
SECONDS = Histogram(
    "rap_api_request_seconds",
    "Time from a request's arrival to the last byte of its answer.",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25),
)
ORDERS = Counter(
    "rap_api_orders", "Orders to workspaces: what became of them.", ["order", "outcome"]
)


def count_order(order: str, outcome: OrderOutcome) -> None:
    """Count what became of an order."""
    ORDERS.labels(order, outcome).inc()


@contextmanager
def served(address: tuple[str, int] | None, *, processes: int) -> Iterator[None]:
    """Serve the metrics at ``address`` while a block starts and runs the API.

    Raises:
        ConfigurationError: nothing can listen there.
    """
    if address is None:
        yield
        return
    with ExitStack() as leaving:
        registry = REGISTRY
        if processes > 1:
            # Read by the processes started from here, when they load the Prometheus client.
            folder = leaving.enter_context(TemporaryDirectory(prefix="rap-api-metrics-"))
            os.environ[_FOLDER] = folder
            leaving.callback(os.environ.pop, _FOLDER)
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        host, port = address
        try:
            server, _ = start_http_server(port, host, registry=registry)
        except OSError as error:
            raise ConfigurationError(
                f"RAP_API_METRICS_ADDRESS: {host} port {port} cannot be listened at: "
                f"{error.strerror}"
            ) from None
        leaving.callback(server.server_close)
        leaving.callback(server.shutdown)
        yield
