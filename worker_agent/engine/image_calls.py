"""What the agent asks of Docker about images."""

from typing import Any

import docker
import docker.errors
import requests

from rap.egress import Fault
from rap.errors import PermanentFault, TransientFault
from worker_agent.engine.connections import Connections, disk_full, no_space


class Images:
    """Images: found, pulled, named."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def find(self, reference: str) -> dict[str, Any] | None:
        """The engine's document about an image that it holds; ``None`` if it holds none."""
        return await self._connections.quick.find(
            lambda client: client.inspect_image(reference),  # type: ignore[no-untyped-call]
            f"inspecting image {reference}",
        )

    async def pull(self, reference: str) -> None:
        """Pull an image; IMAGE_PULL_FAILED, or IMAGE_UNAVAILABLE: its registry has no such one."""

        def pull(client: docker.APIClient) -> None:
            try:
                for line in client.pull(reference, stream=True, decode=True):
                    if "error" in line:
                        raise no_space(line["error"]) or TransientFault(
                            Fault.IMAGE_PULL_FAILED, f"pulling {reference}: {line['error']}"
                        )
            except docker.errors.APIError as error:
                if error.status_code == requests.codes.not_found or _unknown_to_registry(error):
                    raise PermanentFault(
                        Fault.IMAGE_UNAVAILABLE, f"the registry has no {reference}: {error}"
                    ) from error
                raise disk_full(error) or TransientFault(
                    Fault.IMAGE_PULL_FAILED, f"pulling {reference}: {error}"
                ) from error

        await self._connections.pulls.call(
            pull, f"pulling {reference}", timeout_fault=Fault.IMAGE_PULL_FAILED
        )

    async def tag(self, image: str, repository: str, tag: str) -> None:
        """Let a name point at an image."""
        await self._connections.work.call(
            lambda client: client.tag(image, repository, tag),
            f"tagging {repository}:{tag}",
            finish=True,
        )


def _unknown_to_registry(error: docker.errors.APIError) -> bool:
    # Engines answer 404 only if the registry sent details. Of a bare error code, such as GitHub's
    # registry sends, they pass on nothing but the text that the registry protocol fixes for it.
    return error.explanation in ("manifest unknown", "repository name not known to registry")
