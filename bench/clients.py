"""Clients that send the same call again and again, and the percentiles of what they waited."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection

from rap.addresses import HOST

Call = Callable[[], bytes]


@dataclass(frozen=True)
class Endpoint:
    """A server, called as job-server does: a connection for each call."""

    port: int
    token: str = ""

    def call(self, method: str, path: str, body: bytes | None, expected: int) -> bytes:
        connection = HTTPConnection(HOST, self.port, timeout=120)
        try:
            connection.request(method, path, body, {"Authorization": self.token})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status != expected:
            raise RuntimeError(f"{method} {path} was answered {answer.status}: {content[:500]!r}")
        return content


def series(call: Callable[[int], object], *, clients: int, calls: int) -> dict[str, float]:
    """Latency in milliseconds when each client sends its next call once it has its answer.

    Args:
        call: sends one call; is told its number, from 0.
        clients: how many there are at once.
        calls: how many calls they make between them.
    """
    numbers = iter(range(calls))
    lock, start = threading.Lock(), threading.Barrier(clients)
    taken: list[float] = []
    errors: list[BaseException] = []

    def one_client() -> None:
        start.wait()
        while not errors:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            before = time.perf_counter()
            try:
                call(number)
            except Exception as error:  # noqa: BLE001 - raised below, where it is heard
                errors.append(error)
                return
            taken.append((time.perf_counter() - before) * 1000)

    threads = [threading.Thread(target=one_client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    taken.sort()
    return {name: round(percentile(taken, part), 2) for name, part in PERCENTILES.items()}


PERCENTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def percentile(ordered: list[float], part: float) -> float:
    """The smallest value that at least this part of all does not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -int(-part * len(ordered)) - 1))]
