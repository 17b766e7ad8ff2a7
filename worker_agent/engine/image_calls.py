"""What the agent asks of Docker about images."""

from typing import Any

import docker
import docker.errors
import requests

from rap.egress import Fault
from rap.errors import PermanentFault, TransientFault
from worker_agent.engine.lanes import Lanes, call, disk_full, no_space


class ImageCalls:
    """Images: found, pulled, named."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    async def find_image(self, reference: str) -> dict[str, Any] | None:
        """The engine's document about an image that it holds; ``None`` if it holds none."""

        def inspect(client: docker.APIClient) -> dict[str, Any] | None:
            try:
                answer: dict[str, Any] = client.inspect_image(reference)  # type: ignore[no-untyped-call]
            except docker.errors.NotFound:
                return None
            return answer

        return await call(self._lanes.quick, inspect, f"inspecting image {reference}")

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

        await call(
            self._lanes.pulls, pull, f"pulling {reference}", timeout_fault=Fault.IMAGE_PULL_FAILED
        )

    async def tag(self, image: str, repository: str, tag: str) -> None:
        """Let a name point at an image."""
        await call(
            self._lanes.work,
            lambda client: client.tag(image, repository, tag),
            f"tagging {repository}:{tag}",
            finish=True,
        )


def _unknown_to_registry(error: docker.errors.APIError) -> bool:
    # Engines answer 404 only if the registry sent details. Of a bare error code, such as GitHub's
    # registry sends, they pass on nothing but the text that the registry protocol fixes for it.
    return error.explanation in ("manifest unknown", "repository name not known to registry")
