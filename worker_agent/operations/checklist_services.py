"""The checklist of what the agent works with: Temporal, the clock, its secrets, other agents."""

import asyncio
import ctypes
import os
from collections.abc import Mapping

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from rap.errors import ConfigurationError, Unavailable
from rap.findings import Finding, ok, problem, warning
from rap.ids import backend_workflow_id
from rap.settings import AgentSettings
from rap.temporal.client import connect
from rap.temporal.health import CANNOT_WORK, REMEDY, Condition, condition_of
from worker_agent import secrets
from worker_agent.operations.place import Place

IDENTITY = "rap-agent-check"
LIMIT_S = 30.0
"""A person waits; a server that is slow is asked twice whether it can work."""
SECRETS = (
    "DEFAULT_DATABASE_URL",
    "TEMP_DATABASE_NAME",
    "EMIS_ORGANISATION_HASH",
    "PRESTO_TLS_KEY_PATH",
    "PRESTO_TLS_CERT_PATH",
    "STATA_LICENSE",
    "PRIVATE_REPO_ACCESS_TOKEN",
    "TEMPORAL_API_KEY",
)
_UNSYNCHRONISED = 5
"""What the kernel answers about a clock that nobody sets (``TIME_ERROR`` of adjtimex(2))."""


def backend(settings: AgentSettings) -> Finding:
    """Which backend and host this is."""
    if not settings.backend:
        allowed = ", ".join(settings.backends)
        return problem("settings", "BACKEND is not set", f"Set BACKEND to one of {allowed}.")
    return ok("settings", f"backend {settings.backend}, host {settings.agent_host}")


async def temporal(settings: AgentSettings) -> list[Finding]:
    """Whether Temporal can be reached and can work, has our namespace, and knows this backend."""
    try:
        async with asyncio.timeout(LIMIT_S):
            client = await connect(identity=IDENTITY)
            namespace = await _namespace(client)
            if namespace.remedy:
                return [namespace]
            if await condition_of(client) is Condition.CANNOT_WORK:
                return [problem("temporal", CANNOT_WORK, REMEDY)]
            return [namespace, await _controller(client, settings.backend)]
    except (Unavailable, ConfigurationError) as error:
        return [problem("temporal", str(error), "Check TEMPORAL_ADDRESS and the way to it.")]
    except TimeoutError:
        return [
            problem(
                "temporal",
                f"no answer within {LIMIT_S:.0f} s",
                "Check TEMPORAL_ADDRESS, proxies and the firewall: it is gRPC over HTTP/2.",
            )
        ]


async def _namespace(client: Client) -> Finding:
    where = f"{client.service_client.config.target_host}, namespace {client.namespace}"
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            remedy = f"temporal operator namespace create --namespace {client.namespace}"
            return problem("temporal", f"{where}: there is no such namespace", remedy)
        if error.status in (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED):
            remedy = "Check the certificate or TEMPORAL_API_KEY, and TEMPORAL_NAMESPACE."
            return problem("temporal", f"{where}: access is refused", remedy)
        return problem("temporal", f"{where}: {error.message}", "See the server's own log.")
    return ok("temporal", where)


async def _controller(client: Client, backend: str) -> Finding:
    try:
        await client.get_workflow_handle(backend_workflow_id(backend)).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            return problem("controller", error.message, "See the server's own log.")
        return warning(
            "controller",
            f"no controller has set up backend {backend} yet: no jobs will come",
            "Start the controller, with this backend among its BACKENDS.",
        )
    return ok("controller", f"knows backend {backend}")


def clock() -> list[Finding]:
    """Whether somebody sets this host's clock."""
    return judged_clock(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(1024)))


def judged_clock(state: int) -> list[Finding]:
    """What to think of the kernel's answer about its clock."""
    if state == _UNSYNCHRONISED:
        text = "nothing keeps this host's clock right: times of jobs may be wrong"
        return [warning("clock", text, "timedatectl set-ntp true")]
    return [ok("clock", "kept right")] if state >= 0 else []


def present_secrets(settings: AgentSettings, env: Mapping[str, str] = os.environ) -> Finding:
    """Which secrets are there, by name; never what they are."""
    try:
        secrets.check(env)
    except ConfigurationError:
        return problem(
            "secrets",
            "PRESTO_TLS_KEY_PATH and PRESTO_TLS_CERT_PATH do not name two files",
            "Set both to files that this user can read, or neither.",
        )
    there = [name for name in SECRETS if env.get(name, "").strip()]
    missing = [name for name in SECRETS if name not in there]
    text = f"set: {', '.join(there) or 'none'}; not set: {', '.join(missing) or 'none'}"
    if not settings.using_dummy_data_backend and SECRETS[0] in missing:
        return problem(
            "secrets",
            text,
            "Set DEFAULT_DATABASE_URL in the agent's environment (and run this with it), or "
            "USING_DUMMY_DATA_BACKEND=true.",
        )
    return ok("secrets", text)


def agents(place: Place) -> Finding:
    """Whether one agent, and only one, uses the work directory."""
    if not place.agent_runs():
        return warning(
            "agent",
            f"no agent runs with {place.settings.workdir}",
            "Start it (in production it is the container `agent`).",
        )
    waiting = place.waiting_agents()
    if waiting:
        return warning(
            "agent",
            f"one agent runs, and {waiting} more wait for it to end",
            "That is right while a new version takes over. Otherwise stop what is too many.",
        )
    return ok("agent", "one agent runs")
