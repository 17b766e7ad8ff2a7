"""The database checks as activities: any agent host of the backend carries them out."""

from collections.abc import Coroutine
from typing import Any, TypeVar

from temporalio import activity

from activities.agent.shutdown import unless_shut_down
from rap.contracts.activities import DATABASE_DATA_CHECK, DATABASE_STATUS
from rap.egress import DatabaseStatusAnswer, DataCheckAnswer
from rap.ids import CheckKind
from rap.messages.checks import DatabaseStatusOrder, DataCheckOrder
from worker_agent.database.checks import DatabaseChecks
from worker_agent.host import Host

Answer = TypeVar("Answer")


class Database:
    """``database_status`` and ``database_data_check``.

    A check that is cancelled, or whose agent shuts down, takes its container with it. In the second
    case it is given back (AgentRestart), and made again by the next agent.
    """

    def __init__(self, host: Host) -> None:
        self._attempts = host.attempts
        self._pause = host.pauses.check_heartbeat
        self._checks = DatabaseChecks(host)

    @activity.defn(name=DATABASE_STATUS.name)
    async def database_status(self, order: DatabaseStatusOrder) -> DatabaseStatusAnswer:
        """Ask a database whether it is in maintenance."""
        return await self._carry_out(CheckKind.STATUS, self._checks.status(order))

    @activity.defn(name=DATABASE_DATA_CHECK.name)
    async def database_data_check(self, order: DataCheckOrder) -> DataCheckAnswer:
        """Ask the default database how far its data reach."""
        return await self._carry_out(CheckKind.DATA, self._checks.data_check(order))

    async def _carry_out(self, kind: CheckKind, check: Coroutine[Any, Any, Answer]) -> Answer:
        """Await a check, so that the end of this agent is noticed at once by the next one."""
        self._attempts.keep_token(kind, activity.info().task_token)
        try:
            return await unless_shut_down(check, heartbeat=self._pause)
        finally:
            self._attempts.drop_token(kind)
