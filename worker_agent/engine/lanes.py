"""How the agent talks to Docker without one question ever waiting for another kind.

Every call runs in a thread and has a time limit (agent.md 11.5). Calls are sorted into lanes with
threads and connections of their own, so that a long image pull or the waiting for a hundred
containers never delays a kill. Whatever goes wrong comes out as a :class:`~rap.errors.JobFault`.
"""

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import docker
import docker.errors
import docker.utils
import requests
import urllib3

from rap.egress import Fault
from rap.errors import JobFault, TransientFault

Answer = TypeVar("Answer")

INSPECT_LIMIT = 15.0
CALL_LIMIT = 300.0
STATS_LIMIT = 10.0
WAIT_POLL = 60.0
"""Seconds after which an unanswered wait is asked again."""


class LongPollEnded(Exception):
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


class Lanes:
    """The lanes to one engine.

    Args:
        base_url: address of the engine; by default the one that the environment names
            (``DOCKER_HOST``), else the local socket.
        max_jobs: how many containers may be waited for, and images pulled, at once.
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
        self.kills = Lane("kills", connection, inspect_limit, 4)
        self.quick = Lane("quick", connection, inspect_limit, 8)
        self.stats = Lane("stats", connection, STATS_LIMIT, 4)
        self.work = Lane("work", connection, CALL_LIMIT, 16)
        self.waits = Lane("waits", connection, WAIT_POLL, max_jobs + 4)
        # A thread for each job: one registry that hangs must not hold up what another would give.
        self.pulls = Lane("pulls", connection, pull_limit, max_jobs + 4)


async def call(
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
    future = loop.run_in_executor(lane.threads, _with_typed_errors, lane.client, operation, doing)
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


BROKEN = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)
_TIMEOUT = requests.exceptions.Timeout
_OURS = (JobFault, LongPollEnded)


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
        raise disk_full(error) or TransientFault(
            Fault.ENGINE_UNAVAILABLE, f"docker failed {doing}: {error}"
        ) from error
    except (docker.errors.DockerException, *BROKEN) as error:
        # The SDK wraps what goes wrong while it asks the engine for its version.
        if isinstance(error, _TIMEOUT) or isinstance(error.__cause__, _TIMEOUT):
            raise TimeoutError from error  # told like our own limit, which is a second longer
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise TransientFault(Fault.DISK_FULL, f"{error} {doing}") from error
        raise TransientFault(
            Fault.ENGINE_UNAVAILABLE, f"docker does not answer {doing}: {error}"
        ) from error


def disk_full(error: docker.errors.APIError) -> TransientFault | None:
    """DISK_FULL if that is what the engine's answer says."""
    return no_space(str(error.explanation or ""))


def no_space(text: str) -> TransientFault | None:
    """DISK_FULL if that is what an error's text says."""
    # The engine has no code for this: it passes on the text of the operating system's ENOSPC,
    # which is the same in every release and language (agent.md 11.5).
    if "no space left on device" in text:
        return TransientFault(Fault.DISK_FULL, text)
    return None
