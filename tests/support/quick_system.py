"""The whole system as real processes, but for containers: its jobs end as soon as they start.

Temporal, the controller and the API run as in production; a :class:`StubHost` in a thread of its
own takes the place of the agent.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.service import RPCError

from infra.local_system import API, BACKEND, CONTROLLER
from rap import ids
from rap.contracts.kinds import Signal
from rap.contracts.workflows import REPORT
from rap.egress import AgentReport
from rap.temporal.codec import DATA_CONVERTER
from rap.temporal.messages import send_signal
from tests.support.live_system import LiveSystem, eventually
from tests.support.rap_system import StubHost

ROOM = 200
REPORT_EVERY_S = 10.0
T = TypeVar("T")
Message = TypeVar("Message")


@dataclass
class QuickSystem(LiveSystem):
    """One system whose agent has no containers; ends with its ``with`` block."""

    host: StubHost = field(default_factory=lambda: StubHost(backend=BACKEND))
    """What the jobs do; actions in its ``held`` run until :meth:`release`."""

    def start(self) -> None:
        """Start all processes, and the stub; wait until all work."""
        self.start_some(self.server.name, CONTROLLER, API)
        self._loop, self._over = asyncio.new_event_loop(), asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._poll(),))
        self._thread.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.end()
            raise

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """End the stub and the processes."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()
        self.stack.stop()

    def release(self, action: str) -> None:
        """Let a held action go on."""
        self._loop.call_soon_threadsafe(self.host.release, action)

    def has_started(self, action: str) -> None:
        """Wait until the stub was given a job of this action."""
        eventually(lambda: self.host.runs_of(action), f"{action} starts")

    def tell_backend(self, signal: Signal[Message], message: Message) -> None:
        """Give the backend an order, as an operator does."""

        async def tell() -> None:
            client = await self._client()
            await send_signal(client, signal, ids.backend_workflow_id(BACKEND), message)

        self._in_loop(tell())

    def _in_loop(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _client(self) -> Client:
        address = self.temporal_address or self.server.address
        return await Client.connect(address, data_converter=DATA_CONVERTER)

    async def _poll(self) -> None:
        client = await self._client()
        reporting = asyncio.create_task(self._report(client))
        async with self.host.polling(client):
            await self._over.wait()
            reporting.cancel()

    async def _report(self, client: Client) -> None:
        backend = ids.backend_workflow_id(BACKEND)
        report = AgentReport(backend=BACKEND, host=self.host.name, at=0.0, room=ROOM)
        while True:
            try:
                await send_signal(client, REPORT, backend, report)
            except RPCError:
                # Not made yet by the controller, or Temporal is away for a while.
                await asyncio.sleep(0.1)
            else:
                await asyncio.sleep(REPORT_EVERY_S)


def gather(work: Callable[[int], T], count: int) -> list[T]:
    """Do the same ``count`` times at once, each in a thread of its own."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))
