"""Spans of the jobs that are not over, every half a minute (controller.md 16.3).

They make charts of how many jobs are in which state, and show what waits for long. They are read
from the read model and decide nothing; a second controller sends its own.
"""

import asyncio
import time

import structlog

from activities.controller import job_spans
from rap.records import Records

log = structlog.get_logger()

SHORTEST_PAUSE = 2.0
"""Seconds, however long a tick took."""


class Ticker:
    """Emits a ``TICK`` every interval, for as long as the controller lives.

    Args:
        records: where the jobs are.
        interval: seconds.
    """

    def __init__(self, records: Records, interval: float) -> None:
        self._records = records
        self._interval = interval
        self._last_ns: int | None = None

    async def run(self) -> None:
        """Tick until cancelled. A tick that fails is logged, and the next one comes."""
        log.info("Starting tick thread")
        while True:
            began = time.monotonic()
            try:
                await self.tick()
            except Exception:
                log.exception("Exception in tick thread")
            elapsed = time.monotonic() - began
            await asyncio.sleep(max(SHORTEST_PAUSE, self._interval - elapsed))

    async def tick(self) -> None:
        """Tell about the time since the tick before; the first has nothing to tell."""
        now_ns = time.time_ns()
        last_ns, self._last_ns = self._last_ns, now_ns
        if last_ns is None:
            return
        jobs = await asyncio.to_thread(self._records.unfinished)
        job_spans.tell_tick(jobs, start_ns=last_ns, end_ns=now_ns)
