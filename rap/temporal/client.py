"""How a process connects to Temporal, once or when it is up, and with which metrics.

Connection settings come from the standard Temporal environment configuration (``TEMPORAL_ADDRESS``,
``TEMPORAL_NAMESPACE``, profiles, TLS, API key), so that the ``temporal`` command line and every
process of the product read the same ones.
"""

from collections.abc import Callable

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.envconfig import ClientConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError, RPCStatusCode

from rap.addresses import HOST, TEMPORAL_PORT
from rap.errors import ConfigurationError, Unavailable
from rap.temporal.codec import DATA_CONVERTER
from rap.waiting import until_it_answers

DEFAULT_ADDRESS = f"{HOST}:{TEMPORAL_PORT}"


def address() -> str:
    """The address that :func:`connect` uses."""
    return ClientConfig.load_client_connect_config().get("target_host") or DEFAULT_ADDRESS


def runtime_with_metrics(address: str, *, setting: str) -> Runtime | None:
    """A runtime of the SDK that serves its metrics to Prometheus, under ``/metrics``.

    Raises:
        ConfigurationError: the address cannot be used; the text names its ``setting``.
    """
    if not address:
        return None
    try:
        return Runtime(telemetry=TelemetryConfig(metrics=PrometheusConfig(bind_address=address)))
    except ValueError as error:
        raise ConfigurationError(
            f"{setting} must be an IP address and a port of this host that is free, such as "
            f"127.0.0.1:9464, not {address!r}: {error}"
        ) from None


async def connect(*, identity: str, lazy: bool = False, runtime: Runtime | None = None) -> Client:
    """Connect once, or if ``lazy`` at the first call.

    The ``identity`` is what Temporal shows as the origin of our calls; never a host name.

    Raises:
        Unavailable: the server does not answer.
    """
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", DEFAULT_ADDRESS)
    try:
        return await Client.connect(
            **config, data_converter=DATA_CONVERTER, identity=identity, lazy=lazy, runtime=runtime
        )
    except (RuntimeError, RPCError) as error:
        raise Unavailable(
            f"Temporal does not answer at {config['target_host']}. Start it (for development: "
            "`rap dev`), or set TEMPORAL_ADDRESS."
        ) from error


async def is_running(client: Client, workflow_id: str) -> bool:
    """Whether a workflow runs now; false for one that never existed.

    Raises:
        RPCError: Temporal cannot tell.
    """
    try:
        found = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return found.status is WorkflowExecutionStatus.RUNNING


async def connect_when_up(
    *, identity: str, on_wait: Callable[[str], object], runtime: Runtime | None = None
) -> Client:
    """Connect, waiting for the server; ``on_wait`` is told once what is waited for."""
    return await until_it_answers(
        lambda: connect(identity=identity, runtime=runtime), on_wait=on_wait
    )
