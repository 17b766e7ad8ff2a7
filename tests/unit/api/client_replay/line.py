"""A line to the API that can be cut at the worst moments."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum, auto


class Fault(Enum):
    """What happens to the next calls."""

    NONE = auto()
    REQUEST_LOST = auto()
    """The connection ends before the API hears of the request."""
    ANSWER_LOST = auto()
    """The API does its work and answers, and the connection ends."""


@dataclass
class Line:
    """Takes connections to ``port`` through to the API."""

    port: int
    fault: Fault = Fault.NONE

    def carry(self, near: socket.socket, target: tuple[str, int]) -> None:
        """Serve one connection to its end."""
        fault = self.fault
        with near, suppress(OSError):
            if fault is Fault.REQUEST_LOST:
                near.recv(1)
                return
            with socket.create_connection(target) as far:
                forth = threading.Thread(target=_pour, args=(near, far))
                forth.start()
                if fault is Fault.ANSWER_LOST:
                    # The first byte of the answer: what was asked for is done.
                    far.recv(1)
                else:
                    _pour(far, near)
                near.shutdown(socket.SHUT_RDWR)
                forth.join()


@contextmanager
def line_to(port: int) -> Iterator[Line]:
    """A line to a port of this machine."""
    listener = socket.create_server(("127.0.0.1", 0))
    line = Line(port=listener.getsockname()[1])

    def serve() -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(
                    target=line.carry, args=(near, ("127.0.0.1", port)), daemon=True
                ).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield line
    finally:
        listener.close()


def _pour(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
