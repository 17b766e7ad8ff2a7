"""The Temporal client, its payload converter and the search attributes.

Connection settings come from the standard Temporal environment configuration (``TEMPORAL_ADDRESS``,
``TEMPORAL_NAMESPACE``, profiles, TLS, API key), so that the ``temporal`` command line and every
process of the product read the same ones.
"""

import asyncio
import json
from collections.abc import Callable

from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.envconfig import ClientConfig
from temporalio.runtime import PrometheusConfig, Runtime, TelemetryConfig
from temporalio.service import RPCError

from rap.errors import ConfigurationError, Unavailable
from rap.payloads import DATA_CONVERTER

RAP_ID = SearchAttributeKey.for_keyword("RapId")
JOB_ID = SearchAttributeKey.for_keyword("JobId")
BACKEND = SearchAttributeKey.for_keyword("Backend")
WORKSPACE = SearchAttributeKey.for_keyword("Workspace")
ACTION = SearchAttributeKey.for_keyword("Action")
STATUS_CODE = SearchAttributeKey.for_keyword("StatusCode")
REQUESTER = SearchAttributeKey.for_keyword("Requester")
PROJECT = SearchAttributeKey.for_keyword("Project")
REQUIRES_DB = SearchAttributeKey.for_bool("RequiresDb")

SEARCH_ATTRIBUTES: dict[str, str] = {
    RAP_ID.name: "Keyword",
    JOB_ID.name: "Keyword",
    BACKEND.name: "Keyword",
    WORKSPACE.name: "Keyword",
    ACTION.name: "Keyword",
    STATUS_CODE.name: "Keyword",
    REQUESTER.name: "Keyword",
    PROJECT.name: "Keyword",
    REQUIRES_DB.name: "Bool",
}
"""Name to type, as ``temporal operator search-attribute create`` and the dev server take them."""

DEFAULT_ADDRESS = "127.0.0.1:7233"


LONGEST_VALUE = 255
"""Characters of a search attribute that PostgreSQL's visibility store takes."""

MOST_BYTES = 2000
"""Of a search attribute as JSON in plain ASCII; Temporal fails a workflow that sets more."""


def search_attributes(**values: str | bool) -> TypedSearchAttributes:
    """Typed search attributes from names in snake case; empty texts are left out.

    What a request or a project file made too long is cut, since it must not stop a workflow.
    """
    keys: dict[str, SearchAttributeKey[str]] = {
        "rap_id": RAP_ID,
        "job_id": JOB_ID,
        "backend": BACKEND,
        "workspace": WORKSPACE,
        "action": ACTION,
        "status_code": STATUS_CODE,
        "requester": REQUESTER,
        "project": PROJECT,
    }
    pairs: list[SearchAttributePair[str] | SearchAttributePair[bool]] = []
    for name, value in values.items():
        if isinstance(value, bool):
            pairs.append(SearchAttributePair(REQUIRES_DB, value))
        elif value:
            pairs.append(SearchAttributePair(keys[name], _fit(value)))
    return TypedSearchAttributes(pairs)


def _fit(value: str) -> str:
    value = value[:LONGEST_VALUE]
    while len(json.dumps(value)) > MOST_BYTES:
        value = value[:-1]
    return value


def address() -> str:
    """The address that :func:`connect` uses."""
    return ClientConfig.load_client_connect_config().get("target_host") or DEFAULT_ADDRESS


def runtime_with_metrics(address: str, *, setting: str) -> Runtime | None:
    """A runtime of the SDK that serves its figures to Prometheus, under ``/metrics``.

    Args:
        address: IP address and port; empty: no such runtime.
        setting: the variable that it comes from.

    Raises:
        ConfigurationError: the address cannot be used.
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
    """Connect once.

    Args:
        identity: what Temporal shows as the origin of our calls; never a host name.
        lazy: connect at the first call instead of now.
        runtime: of the SDK, if not its default.

    Raises:
        Unavailable: the server does not answer.
    """
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", DEFAULT_ADDRESS)
    try:
        return await Client.connect(
            **config,
            data_converter=DATA_CONVERTER,
            identity=identity,
            lazy=lazy,
            runtime=runtime,
        )
    except (RuntimeError, RPCError) as error:
        raise Unavailable(
            f"Temporal does not answer at {config['target_host']}. Start it (for development: "
            "`rap dev`), or set TEMPORAL_ADDRESS."
        ) from error


async def connect_when_up(
    *, identity: str, on_wait: Callable[[str], None], runtime: Runtime | None = None
) -> Client:
    """Connect, waiting for the server for as long as it takes.

    Args:
        identity: as for :func:`connect`.
        on_wait: is told once what is being waited for.
        runtime: as for :func:`connect`.
    """
    delay, told = 0.2, False
    while True:
        try:
            return await connect(identity=identity, runtime=runtime)
        except Unavailable as error:
            if not told:
                on_wait(str(error))
                told = True
        await asyncio.sleep(delay)
        delay = min(delay * 1.5, 5.0)
