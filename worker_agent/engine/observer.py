"""What operators, and nobody else, ask of Docker: its images, and the output of containers."""

from collections.abc import Callable
from typing import Any

import docker
import docker.errors

from rap.models import Model
from worker_agent.engine.connections import Connections
from worker_agent.engine.inspection import nanoseconds


class LastLine(Model):
    """The newest line of a container's output. Its text stays on this host."""

    at: float
    """Seconds since the epoch, by the engine's clock."""
    text: str


class Observer:
    """Looks; changes nothing."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def images(self, prefix: str) -> list[dict[str, Any]]:
        """Docker's documents about the images with a name below ``prefix``."""
        found: list[dict[str, Any]] = await self._connections.quick.call(
            lambda client: client.images(), "listing images"
        )
        return [
            image
            for image in found
            if any(str(tag).startswith(f"{prefix}/") for tag in image.get("RepoTags") or ())
        ]

    async def digest_in_registry(self, reference: str) -> str | None:
        """The digest that a registry has for a name, asked through Docker as pulls are.

        ``None`` from a registry that answers, but has no such image, or not for us;
        ENGINE_UNAVAILABLE where Docker or the registry does not answer.
        """

        def ask(client: docker.APIClient) -> str | None:
            try:
                found = client.inspect_distribution(reference)  # type: ignore[no-untyped-call]
            except docker.errors.APIError as error:
                if error.is_client_error():
                    return None
                raise
            return str(found["Descriptor"]["digest"])

        return await self._connections.work.call(ask, f"asking the registry for {reference}")

    async def last_line(self, container: str) -> LastLine | None:
        """The newest line of a container's output; ``None`` if there is none yet."""
        answer = await self._connections.quick.find(
            lambda client: client.logs(container, timestamps=True, stream=False, tail=1),
            f"reading the last line of {container}",
        )
        lines = (answer or b"").decode("utf-8", "replace").splitlines()
        moment, _, text = (lines[-1] if lines else "").partition(" ")
        at = nanoseconds(moment)
        return None if at is None else LastLine(at=at / 1e9, text=text)

    async def copy_output(
        self, container: str, write: Callable[[bytes], None], *, follow: bool, tail: int | None
    ) -> None:
        """Give a container's output to ``write``, in another thread, piece by piece.

        ``follow`` goes on until the container ends; ``tail`` gives only so many last lines.
        """

        def copy(client: docker.APIClient) -> None:
            for chunk in client.logs(
                container, stdout=True, stderr=True, stream=True, follow=follow,
                tail="all" if tail is None else tail,
            ):  # fmt: skip
                write(chunk)

        await self._connections.waits.call(
            copy, f"reading the output of {container}", limited=False
        )
