"""Spans of the jobs that are not over, every half a minute (docs/spec/controller.md 16.3).

They make charts of how many jobs are in which state, and show what waits for long. They are read
from the read model and decide nothing; a second controller sends its own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from activities.controller import job_spans
from rap.records import Records

log = structlog.get_logger()

SHORTEST_PAUSE = 2.0
"""Seconds, however long a tick took."""


async def tick_for_ever(
    records: Records,
    interval: float,
    *,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Emit a ``TICK`` every ``interval`` seconds, each about the time since the one before.

    A tick that fails is logged, and the next one comes.
    """
    log.info("Starting tick thread")
    last_ns, elapsed = time.time_ns(), 0.0
    while True:
        await pause(max(SHORTEST_PAUSE, interval - elapsed))
        began, now_ns = time.monotonic(), time.time_ns()
        try:
            jobs = await asyncio.to_thread(records.unfinished)
            job_spans.emit_tick(jobs, start_ns=last_ns, end_ns=now_ns)
        except Exception:
            log.exception("Exception in tick thread")
        last_ns, elapsed = now_ns, time.monotonic() - began
