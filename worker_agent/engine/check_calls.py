"""What the agent asks of Docker about the containers of database checks."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import docker
import docker.errors
import requests

from rap.egress import Fault
from rap.errors import JobFault, TransientFault
from worker_agent.engine.connections import Connections
from worker_agent.engine.container_calls import Containers, remove
from worker_agent.engine.facts import CheckRun

LINES = 200
"""How much of the end of a container's output is read."""
KILL_PAUSE = 0.2
"""Seconds between the tries to kill what may only be about to start."""


class CheckContainers:
    """Containers of database checks: run to their end within one call, and never left behind."""

    def __init__(self, connections: Connections, containers: Containers) -> None:
        self._connections = connections
        self._containers = containers

    async def run(self, name: str, config: dict[str, Any], limit: int) -> CheckRun:
        """Run a container to its end, for at most ``limit`` seconds; afterwards it is gone.

        CONTAINER_REFUSED, CHECK_OUT_OF_TIME. A cancelled caller has it killed, and waits for that.
        """
        running = asyncio.ensure_future(
            self._connections.work.call(
                lambda client: _run_to_end(client, name, config, limit),
                f"running container {name}",
                limited=False,
            )
        )
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            while not running.done():
                with suppress(JobFault):
                    await self._containers.kill(name)
                await asyncio.wait({running}, timeout=KILL_PAUSE)
            raise

    async def remove_left_over(self, labels: Sequence[str]) -> list[str]:
        """Remove the containers with all of these labels; their names."""
        found = await self._connections.quick.call(
            lambda client: client.containers(all=True, filters={"label": list(labels)}),
            "listing containers of database checks",
        )
        for each in found:
            await self._containers.remove(each["Id"])
        return [str(each["Names"][0]).removeprefix("/") for each in found]


def _run_to_end(
    client: docker.APIClient, name: str, config: dict[str, Any], limit: int
) -> CheckRun:
    try:
        try:
            created = client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
            client.start(created["Id"])
        except docker.errors.APIError as error:
            raise TransientFault(
                Fault.CONTAINER_REFUSED, f"docker refused container {name}: {error}"
            ) from error
        return CheckRun(
            exit_code=_wait(client, name, limit),
            output=client.logs(name, stdout=True, stderr=False, tail=LINES),
            errors=client.logs(name, stdout=False, stderr=True, tail=LINES),
        )
    finally:
        remove(client, name)


def _wait(client: docker.APIClient, name: str, limit: int) -> int:
    deadline = time.monotonic() + limit
    try:
        ended = client.wait(name, timeout=limit)
    except (requests.exceptions.Timeout, requests.exceptions.ConnectionError) as error:
        # The SDK shows the end of its patience as a lost connection, too.
        if time.monotonic() < deadline - 1:
            raise
        raise TransientFault(
            Fault.CHECK_OUT_OF_TIME, f"container {name} was stopped after {limit}s"
        ) from error
    return int(ended["StatusCode"])
