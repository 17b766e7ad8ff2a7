"""Whether Temporal can be worked with: a server that answers may be unable to write.

It is asked to write something that nobody uses: the settings of a task queue without tasks. Reads
do not tell, since a server answers them from its memory.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import StrEnum

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.workflowservice.v1 import UpdateTaskQueueConfigRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from rap.errors import Unavailable

log = structlog.get_logger()

PROBE_QUEUE = "rap-probe"
ANSWERS_WITHIN = timedelta(seconds=10)
"""Generous: a busy server is no broken one."""
LOOK_EVERY_S = 30.0

_CANNOT_BE_ASKED = (
    RPCStatusCode.UNIMPLEMENTED,
    RPCStatusCode.PERMISSION_DENIED,
    RPCStatusCode.UNAUTHENTICATED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
)
"""Answers that say nothing about whether the server can write."""


class Condition(StrEnum):
    """How Temporal is."""

    WORKS = "works"
    CANNOT_WORK = "cannot_work"
    AWAY = "away"


CANNOT_WORK = "Temporal answers but cannot work: it does not write what it is told."
REMEDY = "Look at Temporal's database and log; if nothing else helps, start Temporal again."


async def condition_of(client: Client) -> Condition:
    """Ask twice before it is called broken."""
    for _ in range(2):
        if await _writes(client):
            return Condition.WORKS
    return Condition.CANNOT_WORK if await _answers(client) else Condition.AWAY


class Watch:
    """Looks at Temporal every so often and says in the log when it cannot work, and when again.

    ``condition`` is what was seen last; ``None`` before the first look.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[Client]], *, every_s: float = LOOK_EVERY_S
    ) -> None:
        self._connect, self._every_s = connect, every_s
        self._client: Client | None = None
        self.condition: Condition | None = None

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self._every_s)

    async def look(self) -> None:
        """Look once. A server that is away is told of by whoever needs it."""
        before = self.condition
        try:
            self._client = self._client or await self._connect()
        except Unavailable:
            self.condition = Condition.AWAY
            return
        self.condition = await condition_of(self._client)
        if self.condition is Condition.CANNOT_WORK and before is not Condition.CANNOT_WORK:
            log.error(f"{CANNOT_WORK} {REMEDY}")
        elif self.condition is Condition.WORKS and before is Condition.CANNOT_WORK:
            log.info("Temporal works again")


async def _writes(client: Client) -> bool:
    request = UpdateTaskQueueConfigRequest(
        namespace=client.namespace,
        identity=client.identity,
        task_queue=PROBE_QUEUE,
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    )
    try:
        await client.workflow_service.update_task_queue_config(
            request, retry=False, timeout=ANSWERS_WITHIN
        )
    except RPCError as error:
        return error.status in _CANNOT_BE_ASKED
    except RuntimeError:
        # A client that connects at its first call cannot.
        return False
    return True


async def _answers(client: Client) -> bool:
    try:
        return await client.service_client.check_health(retry=False, timeout=ANSWERS_WITHIN)
    except (RPCError, RuntimeError):
        return False
