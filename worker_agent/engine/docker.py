"""The Docker engine, behind one class: the only module that imports the Docker SDK.

Every call runs in a thread and has a time limit (agent.md 11.5). Calls are sorted into lanes with
threads and connections of their own, so that a long image pull or the waiting for a hundred
containers never delays a kill. Every error is a :class:`~rap.errors.JobFault`.
"""

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import docker.utils
import requests
import urllib3

from rap.egress import Fault
from rap.errors import JobFault, PermanentFault, TransientFault
from rap.ids import CONTAINER_PREFIX, container_name
from worker_agent.engine.container import JOB_LABEL
from worker_agent.engine.facts import ContainerFacts, UsageReading
from worker_agent.engine.inspection import container_facts, usage_reading

Answer = TypeVar("Answer")

INSPECT_LIMIT = 15.0
CALL_LIMIT = 300.0
STATS_LIMIT = 10.0
WAIT_POLL = 60.0
"""Seconds after which an unanswered wait is asked again."""
LOG_LINES = 100_000


class _LongPollEnded(Exception):
    """A wait came to an end without an answer, or its connection broke: ask again."""


class Lane:
    """Threads and a connection pool for one kind of call."""

    def __init__(self, name: str, connection: dict[str, Any], limit: float, threads: int) -> None:
        self.limit = limit
        self._connection = {**connection, "timeout": limit, "max_pool_size": threads}
        self._client: docker.APIClient | None = None
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix=f"engine-{name}")

    def client(self) -> docker.APIClient:
        """The client, made at first use: making one asks the engine for its version."""
        if self._client is None:
            self._client = docker.APIClient(version="auto", **self._connection)
        return self._client


class Engine:
    """What the agent asks of Docker.

    Args:
        base_url: address of the engine; by default the one that the environment names
            (``DOCKER_HOST``), else the local socket.
        max_jobs: how many containers may be waited for at once.
        pull_limit: seconds that one pull may take.
        inspect_limit: seconds that a question about a container may take.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        max_jobs: int = 50,
        pull_limit: float = 1200.0,
        inspect_limit: float = INSPECT_LIMIT,
    ) -> None:
        connection: dict[str, Any] = {"base_url": base_url}
        if base_url is None:
            connection = {**docker.utils.kwargs_from_env()}
        self._quick = Lane("quick", connection, inspect_limit, 8)
        self._stats = Lane("stats", connection, STATS_LIMIT, 4)
        self._work = Lane("work", connection, CALL_LIMIT, 16)
        self._waits = Lane("waits", connection, WAIT_POLL, max_jobs + 4)
        self._pulls = Lane("pulls", connection, pull_limit, 4)

    async def version(self) -> str:
        """The engine's version, such as ``28.2.2``."""
        answer = await self._call(
            self._quick, lambda client: client.version(), "asking its version"
        )
        return str(answer["Version"])

    async def inspect(self, job_id: str) -> ContainerFacts | None:
        """The container of a job as it is now; ``None`` if there is none."""
        name = container_name(job_id)

        def inspect(client: docker.APIClient) -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = client.inspect_container(name)
            except docker.errors.NotFound:
                return None
            return answer

        document = await self._call(self._quick, inspect, f"inspecting container {name}")
        return None if document is None else container_facts(document)

    async def job_ids(self) -> list[str]:
        """The jobs that have a container here, running or not, of whichever agent."""

        def listing(client: docker.APIClient) -> list[dict[str, Any]]:
            answer: list[dict[str, Any]] = client.containers(all=True, filters={"label": JOB_LABEL})
            return answer

        found = await self._call(self._quick, listing, "listing containers")
        names = [name.removeprefix("/") for each in found for name in each["Names"]]
        return [n.removeprefix(CONTAINER_PREFIX) for n in names if n.startswith(CONTAINER_PREFIX)]

    async def has_network(self, name: str) -> bool:
        """Whether the engine has a network of this name."""

        def inspect(client: docker.APIClient) -> bool:
            try:
                client.inspect_network(name)
            except docker.errors.NotFound:
                return False
            return True

        return await self._call(self._quick, inspect, f"inspecting network {name}")

    async def start(self, job_id: str, config: dict[str, Any]) -> None:
        """Create and start the container of a job; a container of that name already there is it.

        A container that was created but cannot be started is removed again: kept, it would look
        like a job that had run and failed.

        Raises:
            PermanentFault: IMAGE_UNAVAILABLE, or CONTAINER_REFUSED for a configuration that the
                engine will never accept.
            TransientFault: CONTAINER_REFUSED, DISK_FULL.
        """
        name = container_name(job_id)

        def start(client: docker.APIClient) -> None:
            try:
                created = client.create_container_from_config(config, name)  # type: ignore[no-untyped-call]
            except docker.errors.APIError as error:
                if error.status_code == requests.codes.conflict:
                    return
                raise _refusal(error) from error
            try:
                client.start(created["Id"])
            except docker.errors.APIError as error:
                client.remove_container(created["Id"], v=True, force=True)
                raise _disk_full(error) or TransientFault(
                    Fault.CONTAINER_REFUSED,
                    f"container {name} was created but not started: {error}",
                ) from error

        await self._call(self._work, start, f"starting container {name}", finish=True)

    async def wait(self, job_id: str) -> ContainerFacts | None:
        """Wait until the container of a job runs no more, for days if need be.

        Returns:
            The ended container; ``None`` if it is gone.
        """
        name = container_name(job_id)

        def poll(client: docker.APIClient) -> None:
            try:
                client.wait(name)
            except docker.errors.NotFound:
                return
            except (docker.errors.APIError, *_BROKEN) as error:
                raise _LongPollEnded from error

        while True:
            broken = False
            try:
                await self._call(self._waits, poll, f"waiting for container {name}", limited=False)
            except _LongPollEnded:
                broken = True
            # Raises when the engine is away, so a broken wait never spins against a dead engine.
            facts = await self.inspect(job_id)
            if facts is None or not facts.running:
                return facts
            if broken:
                await asyncio.sleep(0.5)

    async def kill(self, container: str) -> None:
        """Kill a container (SIGKILL), by id or name; one that is gone or ended is fine."""

        def kill(client: docker.APIClient) -> None:
            try:
                client.kill(container)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if error.status_code != requests.codes.conflict:  # conflict: it is not running
                    raise

        await self._call(self._quick, kill, f"killing container {container}", finish=True)

    async def remove(self, container: str) -> None:
        """Remove a container, running or not, with its anonymous volumes; a missing one is fine."""

        def remove(client: docker.APIClient) -> None:
            try:
                client.remove_container(container, v=True, force=True)
            except docker.errors.NotFound:
                return
            except docker.errors.APIError as error:
                if error.status_code != requests.codes.conflict:
                    raise
                # Somebody else's removal is under way: its end is ours.
                try:
                    client.wait(container, condition="removed")
                except docker.errors.NotFound:
                    return

        await self._call(self._work, remove, f"removing container {container}", finish=True)

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

        await self._call(self._work, copy, f"reading the log of container {container}", finish=True)

    async def usage(self, container: str) -> UsageReading | None:
        """What a running container has used so far; ``None`` if it runs no more."""

        def stats(client: docker.APIClient) -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = client.stats(container, stream=False, one_shot=True)
            except docker.errors.NotFound:
                return None
            return answer

        document = await self._call(self._stats, stats, f"measuring container {container}")
        return None if document is None else usage_reading(document)

    async def find_image(self, reference: str) -> dict[str, Any] | None:
        """The engine's document about an image that it holds; ``None`` if it holds none."""

        def inspect(client: docker.APIClient) -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = client.inspect_image(reference)  # type: ignore[no-untyped-call]
            except docker.errors.NotFound:
                return None
            return answer

        return await self._call(self._quick, inspect, f"inspecting image {reference}")

    async def pull(self, reference: str) -> None:
        """Pull an image from its registry.

        Raises:
            PermanentFault: IMAGE_UNAVAILABLE, the registry knows no such image.
            TransientFault: IMAGE_PULL_FAILED, DISK_FULL.
        """

        def pull(client: docker.APIClient) -> None:
            try:
                for line in client.pull(reference, stream=True, decode=True):
                    if "error" in line:
                        raise _no_space(line["error"]) or TransientFault(
                            Fault.IMAGE_PULL_FAILED, f"pulling {reference}: {line['error']}"
                        )
            except docker.errors.APIError as error:
                if error.status_code == requests.codes.not_found or _unknown_to_registry(error):
                    raise PermanentFault(
                        Fault.IMAGE_UNAVAILABLE, f"the registry has no {reference}: {error}"
                    ) from error
                raise _disk_full(error) or TransientFault(
                    Fault.IMAGE_PULL_FAILED, f"pulling {reference}: {error}"
                ) from error

        await self._call(
            self._pulls, pull, f"pulling {reference}", timeout_fault=Fault.IMAGE_PULL_FAILED
        )

    async def tag(self, image: str, repository: str, tag: str) -> None:
        """Let a name point at an image."""
        await self._call(
            self._work,
            lambda client: client.tag(image, repository, tag),
            f"tagging {repository}:{tag}",
            finish=True,
        )

    async def _call(
        self,
        lane: Lane,
        operation: Callable[[docker.APIClient], Answer],
        doing: str,
        *,
        finish: bool = False,
        limited: bool = True,
        timeout_fault: Fault = Fault.ENGINE_UNAVAILABLE,
    ) -> Answer:
        """Run one operation in a lane's thread.

        Args:
            lane: where.
            operation: what.
            doing: the same in words, for errors.
            finish: a cancelled caller waits for the end of the operation, so that nothing is
                started, removed or written behind the back of what comes next.
            limited: end it after the lane's limit; otherwise the lane's connection alone limits it.
            timeout_fault: what running out of time means.
        """
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(
            lane.threads, _with_typed_errors, lane.client, operation, doing
        )
        try:
            async with asyncio.timeout(lane.limit + 1 if limited else None):
                return await (asyncio.shield(future) if finish else future)
        except TimeoutError as error:
            raise TransientFault(
                timeout_fault, f"docker timed out after {lane.limit:g}s {doing}"
            ) from error
        except asyncio.CancelledError:
            if finish:
                await asyncio.wait({future}, timeout=lane.limit)
            raise


_BROKEN = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)
_TIMEOUT = requests.exceptions.Timeout
_OURS = (JobFault, _LongPollEnded)


def _with_typed_errors(
    client: Callable[[], docker.APIClient],
    operation: Callable[[docker.APIClient], Answer],
    doing: str,
) -> Answer:
    try:
        return operation(client())
    except _OURS:
        raise
    except docker.errors.APIError as error:
        raise _disk_full(error) or TransientFault(
            Fault.ENGINE_UNAVAILABLE, f"docker failed {doing}: {error}"
        ) from error
    except (docker.errors.DockerException, *_BROKEN) as error:
        # The SDK wraps what goes wrong while it asks the engine for its version.
        if isinstance(error, _TIMEOUT) or isinstance(error.__cause__, _TIMEOUT):
            raise TimeoutError from error  # told like our own limit, which is a second longer
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise TransientFault(Fault.DISK_FULL, f"{error} {doing}") from error
        raise TransientFault(
            Fault.ENGINE_UNAVAILABLE, f"docker does not answer {doing}: {error}"
        ) from error


def _refusal(error: docker.errors.APIError) -> JobFault:
    """Why the engine would not create a container (agent.md 8.5)."""
    if error.status_code == requests.codes.not_found:
        return PermanentFault(Fault.IMAGE_UNAVAILABLE, f"the image is not on this host: {error}")
    if error.is_client_error():
        return PermanentFault(Fault.CONTAINER_REFUSED, f"docker refused the container: {error}")
    return _disk_full(error) or TransientFault(
        Fault.CONTAINER_REFUSED, f"docker could not create the container: {error}"
    )


def _unknown_to_registry(error: docker.errors.APIError) -> bool:
    # Engines answer 404 only if the registry sent details. Of a bare error code, such as GitHub's
    # registry sends, they pass on nothing but the text that the registry protocol fixes for it.
    return error.explanation in ("manifest unknown", "repository name not known to registry")


def _disk_full(error: docker.errors.APIError) -> TransientFault | None:
    return _no_space(str(error.explanation or ""))


def _no_space(text: str) -> TransientFault | None:
    # The engine has no code for this: it passes on the text of the operating system's ENOSPC,
    # which is the same in every release and language (agent.md 11.5).
    if "no space left on device" in text:
        return TransientFault(Fault.DISK_FULL, text)
    return None
