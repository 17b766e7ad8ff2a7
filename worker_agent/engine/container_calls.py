"""What the agent asks of Docker about the containers of jobs."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from rap.egress import Fault
from rap.errors import JobFault, PermanentFault, TransientFault
from rap.ids import CONTAINER_PREFIX, container_name
from worker_agent.engine.connections import (
    BROKEN,
    Connections,
    disk_full,
    tolerating,
)
from worker_agent.engine.container import JOB_LABEL
from worker_agent.engine.facts import ContainerFacts, EndEvents, RunningContainer, UsageReading
from worker_agent.engine.inspection import container_facts, end_events, moment, usage_reading

LOG_LINES = 100_000
LATE_EVENTS_NS = 500_000_000


class Containers:
    """Containers of jobs: looked at, started, waited for, measured, killed, removed."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def inspect(self, job_id: str) -> ContainerFacts | None:
        """The container of a job as it is now; ``None`` if there is none."""
        name = container_name(job_id)
        document = await self._connections.quick.find(
            lambda client: client.inspect_container(name), f"inspecting container {name}"
        )
        return None if document is None else container_facts(document)

    async def job_ids(self) -> list[str]:
        """The jobs that have a container here, running or not, of whichever agent."""
        found = await self._connections.quick.call(
            lambda client: client.containers(all=True, filters={"label": JOB_LABEL}),
            "listing containers",
        )
        names = [name.removeprefix("/") for each in found for name in each["Names"]]
        return [n.removeprefix(CONTAINER_PREFIX) for n in names if n.startswith(CONTAINER_PREFIX)]

    async def start(
        self,
        job_id: str,
        config: dict[str, Any],
        *,
        on_created: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Create and start the container of a job; a container of that name already there is it.

        ``on_created`` is given its id before its program can run, in another thread.

        A container that was created but cannot be started is removed again: kept, it would look
        like a job that had run and failed.

        Raises:
            PermanentFault: IMAGE_UNAVAILABLE, or CONTAINER_REFUSED for a configuration that the
                engine will never accept.
            TransientFault: CONTAINER_REFUSED.
        """
        name = container_name(job_id)

        def start(client: docker.APIClient) -> None:
            try:
                created = client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
            except docker.errors.APIError as error:
                if error.status_code == requests.codes.conflict:
                    return
                raise _refusal(error) from error
            on_created(created["Id"])
            try:
                client.start(created["Id"])
            except docker.errors.APIError as error:
                client.remove_container(created["Id"], v=True, force=True)
                raise disk_full(error) or TransientFault(
                    Fault.CONTAINER_REFUSED,
                    f"container {name} was created but not started: {error}",
                ) from error

        await self._connections.work.call(start, f"starting container {name}", finish=True)

    async def wait(self, job_id: str) -> ContainerFacts | None:
        """Wait, perhaps for days, until the container of a job ended; ``None`` if it is gone."""
        name = container_name(job_id)

        def is_answered(client: docker.APIClient) -> bool:
            try:
                with tolerating(requests.codes.not_found):
                    client.wait(name)
            except (docker.errors.APIError, *BROKEN):
                return False  # it took too long, or the connection broke
            return True

        while True:
            answered = await self._connections.waits.call(
                is_answered, f"waiting for container {name}", limited=False
            )
            # Raises when the engine is away, so a broken wait never spins against a dead engine.
            facts = await self.inspect(job_id)
            if facts is None or not facts.running:
                return facts
            if not answered:
                await asyncio.sleep(0.5)

    async def end_of(self, container: ContainerFacts) -> EndEvents:
        """What the engine remembers about the end of a container that has run."""
        # Docker keeps its last few hundred events, of all containers and for as long as it runs
        # itself. It learns of a lack of memory from elsewhere than of an end, and perhaps later:
        # so half a second is allowed from then.
        since, until = container.started_at_ns, container.finished_at_ns
        if since is None or until is None:
            return EndEvents()
        span = {"since": moment(since), "until": moment(until + LATE_EVENTS_NS)}
        filters = {"container": [container.id], "event": ["oom", "kill", "die"]}

        def ask(client: docker.APIClient) -> EndEvents:
            # The engine takes fractions of a second; the SDK's types know only whole ones.
            return end_events(client.events(filters=filters, decode=True, **span))  # type: ignore[call-overload]

        return await self._connections.work.call(
            ask, f"asking how container {container.name} ended"
        )

    async def kill(self, container: str) -> None:
        """Kill a container (SIGKILL), by id or name; one that is gone or ended is fine."""

        def kill(client: docker.APIClient) -> None:
            # A conflict: it is not running.
            with tolerating(requests.codes.not_found, requests.codes.conflict):
                client.kill(container)

        await self._connections.kills.call(kill, f"killing container {container}", finish=True)

    async def remove(self, container: str) -> None:
        """Remove a container, as :func:`remove`."""
        await self._connections.work.call(
            lambda client: remove(client, container), f"removing container {container}", finish=True
        )

    async def logs(self, container: str, into: Path) -> None:
        """Write the last 100,000 lines of a container's output, with timestamps, to a file."""

        def copy(client: docker.APIClient) -> None:
            chunks = client.logs(
                container, stdout=True, stderr=True, timestamps=True, stream=True, follow=False,
                tail=LOG_LINES,
            )  # fmt: skip
            with into.open("wb") as file:
                into.chmod(0o600)
                for chunk in chunks:
                    file.write(chunk)

        await self._connections.work.call(
            copy, f"reading the log of container {container}", finish=True
        )

    async def running(self) -> list[RunningContainer]:
        """The running containers that are named as those of jobs, of whichever agent."""
        found = await self._connections.stats.call(
            lambda client: client.containers(filters={"name": CONTAINER_PREFIX}),
            "listing running containers",
        )
        # The filter also finds names that hold the prefix elsewhere.
        return [
            RunningContainer(
                id=each["Id"],
                job_id=name.removeprefix(f"/{CONTAINER_PREFIX}"),
                created_at=each["Created"],
            )
            for each in found
            for name in each["Names"]
            if name.startswith(f"/{CONTAINER_PREFIX}")
        ]

    async def usage(self, container: str) -> UsageReading | None:
        """What a running container has used so far; ``None`` if it runs no more."""
        document = await self._connections.stats.find(
            lambda client: client.stats(container, stream=False, one_shot=True),
            f"measuring container {container}",
        )
        return None if document is None else usage_reading(document)


def remove(client: docker.APIClient, container: str) -> None:
    """Remove a container in whatever state, with its anonymous volumes; a missing one is fine."""
    with tolerating(requests.codes.not_found):
        try:
            client.remove_container(container, v=True, force=True)
        except docker.errors.APIError as error:
            if error.status_code != requests.codes.conflict:
                raise
            # Somebody else's removal is under way: its end is ours.
            client.wait(container, condition="removed")


def _refusal(error: docker.errors.APIError) -> JobFault:
    """Why the engine would not create a container (docs/spec/agent.md 8.5)."""
    if error.status_code == requests.codes.not_found:
        return PermanentFault(Fault.IMAGE_UNAVAILABLE, f"the image is not on this host: {error}")
    if error.is_client_error():
        return PermanentFault(Fault.CONTAINER_REFUSED, f"docker refused the container: {error}")
    return disk_full(error) or TransientFault(
        Fault.CONTAINER_REFUSED, f"docker could not create the container: {error}"
    )
