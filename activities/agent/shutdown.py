"""What becomes of an activity in hand when its agent shuts down."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog
from temporalio import activity

from worker_agent.egress_guard import RETRY_DELAY, AgentRestart

log = structlog.get_logger()

Answer = TypeVar("Answer")


async def unless_shut_down(
    coroutine: Coroutine[Any, Any, Answer], *, heartbeat: float | None = None
) -> Answer:
    """Await the work of an activity, with signs of life every ``heartbeat`` seconds, if any.

    AgentRestart when the agent shuts down: the work is broken off, and the next agent makes it.
    """
    work = asyncio.create_task(coroutine)
    shutdown = asyncio.create_task(activity.wait_for_worker_shutdown())
    try:
        while not work.done() and not shutdown.done():
            if heartbeat is not None:
                activity.heartbeat()
            await asyncio.wait(
                {work, shutdown}, timeout=heartbeat, return_when=asyncio.FIRST_COMPLETED
            )
        if not work.done():
            log.info("the agent shuts down: the activity is given back")
            raise AgentRestart(RETRY_DELAY)
        return work.result()
    finally:
        shutdown.cancel()
        if work.cancel():
            await asyncio.wait({work})
