"""A container that is given text and answers with text: for programs that read standard input."""

import socket
from contextlib import suppress
from typing import Any

import docker
import docker.errors

from rap.egress import Fault
from rap.errors import TransientFault
from worker_agent.engine.docker import Engine
from worker_agent.engine.lanes import call


class FeedingEngine(Engine):
    """The engine, for such containers."""

    async def answer(self, image: str, command: list[str], text: bytes) -> bytes:
        """Run a program of an image on a text; its standard output.

        It has neither network nor privileges, and is removed in any case.

        Args:
            image: is on this host.
            command: replaces what the image would run.
            text: given on standard input.

        Raises:
            TransientFault: CONTAINER_REFUSED, the program failed; ENGINE_UNAVAILABLE.
        """

        def run(client: docker.APIClient) -> bytes:
            created = client.create_container_from_config(_config(image, command))  # type: ignore[no-untyped-call]
            try:
                return _feed(client, created["Id"], text)
            finally:
                with suppress(docker.errors.NotFound):
                    client.remove_container(created["Id"], v=True, force=True)

        return await call(self._lanes.work, run, f"running {command[0]} of {image}")


def _config(image: str, command: list[str]) -> dict[str, Any]:
    return {
        "Image": image,
        "Cmd": command,
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "NetworkDisabled": True,
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "PidsLimit": 64,
            "Memory": 2 * 1024**3,
        },
    }


def _feed(client: docker.APIClient, container: str, text: bytes) -> bytes:
    # Attached before it starts, so that the program cannot meet a closed input.
    connection = client.attach_socket(container, params={"stdin": 1, "stream": 1})
    try:
        client.start(container)
        raw = getattr(connection, "_sock", connection)
        with suppress(ConnectionError):
            raw.sendall(text)
            # The end of the program's input. Closing alone would not do: the SDK holds on to it.
            raw.shutdown(socket.SHUT_WR)
    finally:
        connection.close()
    exit_code = client.wait(container)["StatusCode"]
    output: bytes = client.logs(container, stdout=True, stderr=False)
    if exit_code != 0:
        errors = client.logs(container, stdout=False, stderr=True, tail=5)
        raise TransientFault(
            Fault.CONTAINER_REFUSED,
            f"it ended with exit code {exit_code}: {errors.decode(errors='replace').strip()}",
        )
    return output
