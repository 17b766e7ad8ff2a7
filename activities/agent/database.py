"""The database checks as activities: any agent host of the backend carries them out."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog
from temporalio import activity

from activities.contracts import DATABASE_DATA_CHECK, DATABASE_STATUS
from rap.egress import DatabaseStatusAnswer, DataCheckAnswer
from rap.ids import CheckKind
from rap.messages import DatabaseStatusOrder, DataCheckOrder
from worker_agent.database_checks import DatabaseChecks
from worker_agent.egress_guard import RETRY_DELAY, AgentRestart
from worker_agent.host import Host

log = structlog.get_logger()

HEARTBEAT_EVERY = 3.0
"""Seconds; the workflow gives the activity up after 30 without one."""

Answer = TypeVar("Answer")


class Database:
    """``database_status`` and ``database_data_check``.

    A check that is cancelled, or whose agent shuts down, takes its container with it.
    """

    def __init__(self, host: Host) -> None:
        self._notes = host.notes
        self._checks = DatabaseChecks(host)

    @activity.defn(name=DATABASE_STATUS.name)
    async def database_status(self, order: DatabaseStatusOrder) -> DatabaseStatusAnswer:
        """Ask a database whether it is in maintenance.

        Raises:
            AgentRestart: the agent shuts down; the check is made again by the next one.
        """
        return await self._carry_out(CheckKind.STATUS, self._checks.status(order))

    @activity.defn(name=DATABASE_DATA_CHECK.name)
    async def database_data_check(self, order: DataCheckOrder) -> DataCheckAnswer:
        """Ask the default database how far its data reach.

        Raises:
            AgentRestart: the agent shuts down; the check is made again by the next one.
        """
        return await self._carry_out(CheckKind.DATA, self._checks.data_check(order))

    async def _carry_out(self, kind: CheckKind, check: Coroutine[Any, Any, Answer]) -> Answer:
        """Await a check, so that the end of this agent is noticed at once by the next one."""
        self._notes.keep_token(kind, activity.info().task_token)
        try:
            return await _alive(check)
        finally:
            self._notes.drop_token(kind)


async def _alive(check: Coroutine[Any, Any, Answer]) -> Answer:
    """Await a check with signs of life; give it back when the agent shuts down."""
    work = asyncio.create_task(check)
    shutdown = asyncio.create_task(activity.wait_for_worker_shutdown())
    try:
        while not work.done() and not shutdown.done():
            activity.heartbeat()
            await asyncio.wait(
                {work, shutdown}, timeout=HEARTBEAT_EVERY, return_when=asyncio.FIRST_COMPLETED
            )
        if not work.done():
            log.info("the agent shuts down: the check is given back")
            raise AgentRestart(RETRY_DELAY)
        return work.result()
    finally:
        shutdown.cancel()
        if work.cancel():
            await asyncio.wait({work})
