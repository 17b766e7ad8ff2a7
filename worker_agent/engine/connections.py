"""How the agent talks to Docker without one question ever waiting for another kind.

Every call runs in a thread and has a time limit (docs/spec/agent.md 11.5). Calls are sorted into
connections with threads of their own, so that a long image pull or the waiting for a hundred
containers never delays a kill. Whatever goes wrong comes out as a :class:`~rap.errors.JobFault`.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any, TypeVar

import docker
import docker.errors
import docker.utils
import requests
import urllib3

from rap.egress import Fault
from rap.errors import JobFault, TransientFault
from worker_agent.disk import disk_fault

Answer = TypeVar("Answer")

BROKEN = (requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)
_TIMEOUT = requests.exceptions.Timeout
CALL_LIMIT = 300.0
WAIT_POLL = 60.0
"""Seconds after which an unanswered wait is asked again."""


class Connection:
    """Threads and sockets for calls of one kind, so many at once, each within ``limit`` seconds."""

    def __init__(
        self,
        name: str,
        address: dict[str, Any],
        limit: float,
        threads: int,
        on_away: Callable[[], None],
        *,
        slow_is_away: bool = False,
    ) -> None:
        self._limit, self._on_away, self._slow_is_away = limit, on_away, slow_is_away
        self._arguments = {**address, "timeout": limit, "max_pool_size": threads}
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"engine-{name}")

    async def call(
        self,
        operation: Callable[[docker.APIClient], Answer],
        doing: str,
        *,
        finish: bool = False,
        fresh: bool = False,
        limited: bool = True,
        timeout_fault: Fault = Fault.ENGINE_UNAVAILABLE,
    ) -> Answer:
        """Run one operation in a thread; ``doing`` is the same in words, for errors.

        With ``finish`` a cancelled caller waits for its end, so that nothing is started, removed or
        written behind the back of what comes next. ``fresh`` calls on a socket of its own. What is
        not ``limited`` ends by the limits of the sockets alone.
        """
        loop = asyncio.get_running_loop()
        do = self._do_on_a_fresh_socket if fresh else self._do
        future = loop.run_in_executor(self._threads, do, operation, doing)
        try:
            async with asyncio.timeout(self._limit + 1 if limited else None):
                return await (asyncio.shield(future) if finish else future)
        except TransientFault as fault:
            answered = isinstance(fault.__cause__, docker.errors.APIError)
            if fault.fault is Fault.ENGINE_UNAVAILABLE and not answered:
                self._on_away()
            raise
        except TimeoutError as error:
            if self._slow_is_away:
                self._on_away()
            raise TransientFault(
                timeout_fault, f"docker timed out after {self._limit:g}s {doing}"
            ) from error
        except asyncio.CancelledError:
            if finish:
                await asyncio.wait({future}, timeout=self._limit)
            raise

    async def find(
        self, operation: Callable[[docker.APIClient], Answer], doing: str
    ) -> Answer | None:
        """The same for a question about what may not be there: ``None`` if it is not."""

        def found(client: docker.APIClient) -> Answer | None:
            try:
                return operation(client)
            except docker.errors.NotFound:
                return None

        return await self.call(found, doing)

    @cached_property
    def _client(self) -> docker.APIClient:
        """Made at first use: making one asks the engine for its version."""
        return self._new_client()

    def _new_client(self) -> docker.APIClient:
        return docker.APIClient(version="auto", **self._arguments)

    def _do_on_a_fresh_socket(
        self, operation: Callable[[docker.APIClient], Answer], doing: str
    ) -> Answer:
        def do(_: docker.APIClient) -> Answer:
            client = self._new_client()
            try:
                return operation(client)
            finally:
                client.close()

        return self._do(do, doing)

    def _do(self, operation: Callable[[docker.APIClient], Answer], doing: str) -> Answer:
        try:
            return operation(self._client)
        except JobFault:
            raise
        except docker.errors.APIError as error:
            raise disk_full(error) or TransientFault(
                Fault.ENGINE_UNAVAILABLE, f"docker failed {doing}: {error}"
            ) from error
        except (docker.errors.DockerException, *BROKEN) as error:
            # The SDK wraps what goes wrong while it asks the engine for its version.
            if isinstance(error, _TIMEOUT) or isinstance(error.__cause__, _TIMEOUT):
                raise TimeoutError from error  # the same as our own limit, which is a second longer
            if isinstance(error, OSError) and (full := disk_fault(error)) is not None:
                raise full from error
            raise TransientFault(
                Fault.ENGINE_UNAVAILABLE, f"docker does not answer {doing}: {error}"
            ) from error


class Connections:
    """The connections to one engine, one for each kind of call, each with its limit in seconds.

    By default it is the engine that the environment names (``DOCKER_HOST``), else the local one.
    ``max_jobs`` containers may be waited for, and as many images pulled, at once. ``on_away`` is
    called whenever the engine does not answer, or not in time what it answers at once.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        max_jobs: int,
        pull_limit: float,
        inspect_limit: float = 15.0,
        stats_limit: float = 10.0,
        on_away: Callable[[], None] = lambda: None,
    ) -> None:
        address: dict[str, Any] = {"base_url": base_url}
        if base_url is None:
            address = {**docker.utils.kwargs_from_env()}

        def connection(name: str, limit: float, threads: int, **more: bool) -> Connection:
            return Connection(name, address, limit, threads, on_away, **more)

        self.kills = connection("kills", inspect_limit, 4, slow_is_away=True)
        self.quick = connection("quick", inspect_limit, 8, slow_is_away=True)
        self.stats = connection("stats", stats_limit, 4)
        self.work = connection("work", CALL_LIMIT, 16)
        self.waits = connection("waits", WAIT_POLL, max_jobs + 4)
        # A thread for each job: one registry that hangs must not hold up what another would give.
        self.pulls = connection("pulls", pull_limit, max_jobs + 4)


@contextmanager
def tolerating(*codes: int) -> Iterator[None]:
    """Let answers of the engine with these status codes pass for a success."""
    try:
        yield
    except docker.errors.APIError as error:
        if error.status_code not in codes:
            raise


def disk_full(error: docker.errors.APIError) -> TransientFault | None:
    """DISK_FULL if that is what the engine's answer says."""
    return no_space(str(error.explanation or ""))


def no_space(text: str) -> TransientFault | None:
    """DISK_FULL if that is what an error's text says."""
    # The engine has no code for this: it passes on the text of the operating system's ENOSPC,
    # which is the same in every release and language (docs/spec/agent.md 11.5).
    if "no space left on device" in text:
        return TransientFault(Fault.DISK_FULL, text)
    return None
