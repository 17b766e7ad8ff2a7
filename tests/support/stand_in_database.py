"""Plays the database that the stand-in of the check program asks, on a network of its own."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import docker


@dataclass
class StandInDatabase:
    """Answers each check as it is told to; those that come while it is not free wait."""

    network: str
    url: str
    answer: str = "none;0"
    data_answer: str = "OK"
    asked: list[str] = field(default_factory=list)
    """The commands of all checks so far."""
    free: threading.Event = field(default_factory=threading.Event)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return  # closed: the test is over
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            command = connection.makefile().readline().strip()
            self.asked.append(command)
            self.free.wait()
            is_status = command == "in_maintenance_mode"
            answer = self.answer if is_status else self.data_answer
            connection.sendall(answer.encode() + b"\n")


@contextmanager
def stand_in_database(password: str) -> Iterator[StandInDatabase]:
    """A database on the gateway of a new Docker network."""
    client = docker.from_env()
    network = client.networks.create(f"rap-test-{uuid4().hex[:8]}", driver="bridge")
    try:
        network.reload()
        gateway = network.attrs["IPAM"]["Config"][0]["Gateway"]
        with socket.create_server((gateway, 0)) as listener:
            port = listener.getsockname()[1]
            url = f"mssql://reader:{password}@{gateway}:{port}/patients"
            database = StandInDatabase(str(network.name), url)
            database.free.set()
            threading.Thread(target=database.serve, args=(listener,), daemon=True).start()
            yield database
            database.free.set()
    finally:
        for container in client.containers.list(all=True, filters={"network": network.name}):
            container.remove(force=True)
        network.remove()
        client.close()
