"""What operators, and nobody else, ask of Docker: its own state, and the output of containers."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import docker
import docker.errors

from rap.models import Model
from worker_agent.engine.docker import Engine
from worker_agent.engine.facts import ContainerFacts
from worker_agent.engine.inspection import nanoseconds
from worker_agent.engine.lanes import call


class LastLine(Model):
    """The newest line of a container's output. Its text stays on this host."""

    at: float
    """Seconds since the epoch, by the engine's clock."""
    text: str


class EngineState(Model):
    """What the engine says about itself."""

    version: str
    storage_driver: str
    cgroup_version: str
    cgroup_driver: str
    live_restore: bool
    swap_limit: bool
    memory_limit: bool
    user_namespaces: bool
    """Whether the engine gives containers other users than they ask for."""
    at: float | None
    """The engine's own clock, seconds since the epoch."""


class Observer(Engine):
    """The engine, and what operators may see of it."""

    async def state(self) -> EngineState:
        """What the engine is and how it is set up."""

        def info(client: docker.APIClient) -> dict[str, Any]:
            answer: dict[str, Any] = client.info()
            return answer

        found = await call(self._lanes.quick, info, "asking what it is")
        at = nanoseconds(str(found.get("SystemTime", "")))
        return EngineState(
            version=str(found.get("ServerVersion", "")),
            storage_driver=str(found.get("Driver", "")),
            # Engines before 20.10 do not say: there was only one.
            cgroup_version=str(found.get("CgroupVersion", "1")),
            cgroup_driver=str(found.get("CgroupDriver", "")),
            live_restore=bool(found.get("LiveRestoreEnabled")),
            swap_limit=bool(found.get("SwapLimit")),
            memory_limit=bool(found.get("MemoryLimit")),
            user_namespaces=any(
                "name=userns" in str(option) for option in found.get("SecurityOptions") or ()
            ),
            at=None if at is None else at / 1e9,
        )

    async def network(self, name: str) -> dict[str, Any] | None:
        """The engine's document about a network; ``None`` if there is none of this name."""

        def inspect(client: docker.APIClient) -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = client.inspect_network(name)
            except docker.errors.NotFound:
                return None
            return answer

        return await call(self._lanes.quick, inspect, f"inspecting network {name}")

    async def images(self, prefix: str) -> list[dict[str, Any]]:
        """The engine's documents about the images with a name below ``prefix``."""

        def listing(client: docker.APIClient) -> list[dict[str, Any]]:
            answer: list[dict[str, Any]] = client.images()
            return answer

        found = await call(self._lanes.quick, listing, "listing images")
        return [
            image
            for image in found
            if any(str(tag).startswith(f"{prefix}/") for tag in image.get("RepoTags") or ())
        ]

    async def digest_in_registry(self, reference: str) -> str | None:
        """The digest that a registry has for a name, asked through the engine as pulls are.

        ``None`` from a registry that answers, but has no such image, or not for us.

        Raises:
            TransientFault: ENGINE_UNAVAILABLE, the engine or the registry does not answer.
        """

        def ask(client: docker.APIClient) -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = client.inspect_distribution(reference)  # type: ignore[no-untyped-call]
            except docker.errors.APIError as error:
                if error.is_client_error():
                    return None
                raise
            return answer

        found = await call(self._lanes.work, ask, f"asking the registry for {reference}")
        return None if found is None else str(found["Descriptor"]["digest"])

    async def running_jobs(self) -> dict[str, ContainerFacts]:
        """The running containers of jobs, of whichever agent, by job; in no order."""
        found: dict[str, ContainerFacts] = {}
        for job_id in await self.job_ids():
            container = await self.inspect(job_id)
            if container is not None and container.running:
                found[job_id] = container
        return found

    async def last_line(self, container: str) -> LastLine | None:
        """The newest line of a container's output; ``None`` if there is none yet."""

        def tail(client: docker.APIClient) -> bytes:
            try:
                lines: bytes = client.logs(container, timestamps=True, stream=False, tail=1)
            except docker.errors.NotFound:
                return b""
            return lines

        answer = await call(self._lanes.quick, tail, f"reading the last line of {container}")
        lines = answer.decode("utf-8", "replace").splitlines()
        moment, _, text = (lines[-1] if lines else "").partition(" ")
        at = nanoseconds(moment)
        return None if at is None else LastLine(at=at / 1e9, text=text)

    async def copy_output(
        self, container: str, write: Callable[[bytes], None], *, follow: bool, tail: int | None
    ) -> None:
        """Give a container's output to ``write``, piece by piece, as the program wrote it.

        Args:
            container: its id.
            write: is called in another thread.
            follow: go on until the container ends, else stop at what there is.
            tail: only so many last lines; ``None``: all.
        """

        def copy(client: docker.APIClient) -> None:
            for chunk in client.logs(
                container, stdout=True, stderr=True, stream=True, follow=follow,
                tail="all" if tail is None else tail,
            ):  # fmt: skip
                write(chunk)

        await call(self._lanes.waits, copy, f"reading the output of {container}", limited=False)


def moment(seconds: float) -> str:
    """A moment as the JSON documents of commands show it: ISO 8601, UTC, whole seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
