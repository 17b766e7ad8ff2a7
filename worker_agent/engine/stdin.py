"""A container that is given text and answers with text: for programs that read standard input."""

import socket
from contextlib import suppress
from typing import Any

import docker

from rap.egress import Fault
from rap.errors import TransientFault
from worker_agent.engine.connections import Connections
from worker_agent.engine.container_calls import remove


class StdinContainers:
    """Runs such containers."""

    def __init__(self, connections: Connections) -> None:
        self._work = connections.work

    async def answer(self, image: str, command: list[str], text: bytes) -> bytes:
        """Run a program of an image, which is on this host, on a text; its standard output.

        It has neither network nor privileges, and is removed in any case. CONTAINER_REFUSED if the
        program fails.
        """

        def run(client: docker.APIClient) -> bytes:
            created = client.create_container_from_config(_config(image, command))  # type: ignore[no-untyped-call]
            try:
                return _run_on(client, created["Id"], text)
            finally:
                remove(client, created["Id"])

        return await self._work.call(run, f"running {command[0]} of {image}")


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


def _run_on(client: docker.APIClient, container: str, text: bytes) -> bytes:
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
