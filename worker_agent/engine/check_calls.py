"""What the agent asks of Docker about the containers of database checks."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import docker
import docker.errors
import requests

from rap.egress import Fault
from rap.errors import JobFault, TransientFault
from worker_agent.engine.check_container import CHECK_LABEL, OWNER_LABEL
from worker_agent.engine.container_calls import ContainerCalls
from worker_agent.engine.lanes import call

LINES = 200
"""How much of the end of a container's output is read."""
KILL_PAUSE = 0.2
"""Seconds between the tries to kill what may only be about to start."""


@dataclass(frozen=True, slots=True)
class CheckRun:
    """How the program of a check ended."""

    exit_code: int
    output: bytes
    """The end of its standard output."""
    errors: bytes
    """The end of its standard error; stays on the host."""


class CheckCalls(ContainerCalls):
    """Containers that are run to their end within one call, and never left behind."""

    async def run_check(self, name: str, config: dict[str, Any], limit: int) -> CheckRun:
        """Run the container of a database check to its end; afterwards it is gone.

        A cancelled caller has it killed, and returns when it is gone.

        Args:
            name: of the container.
            config: the engine's document.
            limit: seconds that its program may take.

        Raises:
            TransientFault: CONTAINER_REFUSED, CHECK_OUT_OF_TIME.
        """
        running = asyncio.ensure_future(
            call(
                self._lanes.work,
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
                    await self.kill(name)
                await asyncio.wait({running}, timeout=KILL_PAUSE)
            raise

    async def remove_checks(self, owner: str, kind: str | None = None) -> list[str]:
        """Remove the containers of database checks that an agent left behind.

        Args:
            owner: which agent, as the containers' label says.
            kind: only those of this check.

        Returns:
            Their names.
        """
        labels = [
            f"{OWNER_LABEL}={owner}",
            CHECK_LABEL if kind is None else f"{CHECK_LABEL}={kind}",
        ]

        def listing(client: docker.APIClient) -> list[dict[str, Any]]:
            answer: list[dict[str, Any]] = client.containers(all=True, filters={"label": labels})
            return answer

        found = await call(self._lanes.quick, listing, "listing containers of database checks")
        for each in found:
            await self.remove(each["Id"])
        return [str(each["Names"][0]).removeprefix("/") for each in found]


def _run_to_end(
    client: docker.APIClient, name: str, config: dict[str, Any], limit: int
) -> CheckRun:
    """Run a container to its end and remove it, whatever happens.

    Raises:
        TransientFault: CONTAINER_REFUSED, CHECK_OUT_OF_TIME.
    """
    try:
        created = client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
        client.start(created["Id"])
    except docker.errors.APIError as error:
        _remove(client, name)
        raise TransientFault(
            Fault.CONTAINER_REFUSED, f"docker refused container {name}: {error}"
        ) from error
    except BaseException:
        _remove(client, name)
        raise
    try:
        exit_code = _wait(client, name, limit)
        return CheckRun(
            exit_code=exit_code,
            output=client.logs(name, stdout=True, stderr=False, tail=LINES),
            errors=client.logs(name, stdout=False, stderr=True, tail=LINES),
        )
    finally:
        _remove(client, name)


def _wait(client: docker.APIClient, name: str, limit: int) -> int:
    deadline = time.monotonic() + limit
    try:
        ended = client.wait(name, timeout=limit)
    except (requests.exceptions.Timeout, requests.exceptions.ConnectionError) as error:
        # The SDK tells the end of its patience as a lost connection, too.
        if time.monotonic() < deadline - 1:
            raise
        raise TransientFault(
            Fault.CHECK_OUT_OF_TIME, f"container {name} was stopped after {limit}s"
        ) from error
    return int(ended["StatusCode"])


def _remove(client: docker.APIClient, name: str) -> None:
    with suppress(docker.errors.NotFound):
        try:
            client.remove_container(name, v=True, force=True)
        except docker.errors.APIError as error:
            if error.status_code != requests.codes.conflict:
                raise
            # Somebody else's removal is under way: its end is ours.
            client.wait(name, condition="removed")
