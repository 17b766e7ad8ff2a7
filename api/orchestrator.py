"""What the API asks of Temporal; the only module of it that does.

The workflow and its updates are called by their names, so that the API carries no workflow code.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Protocol

import structlog
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from api import figures
from rap import ids
from rap.errors import RapError, Unavailable
from rap.messages import (
    CancelAnswer,
    CancelOrder,
    CancelRequest,
    CreateAnswer,
    SettleAnswer,
    SettleRequest,
    WorkspaceStart,
)
from rap.models import CreateRequest
from rap.temporal import search_attributes
from workflows.describe import workspace_texts

log = structlog.get_logger()

WORKFLOW = "WorkspaceWorkflow"
CREATE = "create_rap"
CANCEL = "cancel_jobs"
SETTLE = "settle_rap"
CANCEL_RAP = "cancel"


class OrderLost(Unavailable):
    """No answer came: whether the order was or will be carried out is not known."""


class OrderFailed(RapError):
    """The workspace failed at the order in a way nobody foresaw; it had no effect."""


class Orchestrator(Protocol):
    """The three orders of the API.

    Raises:
        OrderLost: (any order) no answer came.
        OrderFailed: (any order) it certainly had no effect.
    """

    async def create(self, request: CreateRequest) -> CreateAnswer:
        """Create a RAP, starting the workflow of its workspace if there is none."""
        ...

    async def cancel(self, backend: str, workspace: str, request: CancelRequest) -> CancelAnswer:
        """Cancel jobs of a RAP; nothing to do if its workspace has no workflow any more."""
        ...

    async def settle(self, backend: str, workspace: str, request: SettleRequest) -> SettleAnswer:
        """Find out what became of a create whose answer was lost."""
        ...


class TemporalOrchestrator:
    """The orders as updates of the workflow of a workspace.

    Args:
        connect: makes the client; called at the first order, and again until it succeeds.
        within: seconds after which an order counts as lost.
    """

    def __init__(self, connect: Callable[[], Awaitable[Client]], within: float) -> None:
        self._connect = connect
        self._within = within
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._is_away = False

    async def create(self, request: CreateRequest) -> CreateAnswer:
        """See :meth:`Orchestrator.create`."""
        answer: CreateAnswer = await self._update_with_start(
            request.backend, request.workspace, CREATE, request, CreateAnswer
        )
        return answer

    async def cancel(self, backend: str, workspace: str, request: CancelRequest) -> CancelAnswer:
        """See :meth:`Orchestrator.cancel`."""
        workflow_id = ids.workspace_workflow_id(backend, workspace)
        async with self._asking(CANCEL, workflow_id) as client:
            try:
                answer: CancelAnswer = await client.get_workflow_handle(workflow_id).execute_update(
                    CANCEL, request, result_type=CancelAnswer, rpc_timeout=self._rpc_timeout
                )
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                answer = CancelAnswer(cancelled=0)
            if not answer.cancelled:
                # The workspace has forgotten a RAP that is over, or lost sight of one that is not.
                await self._tell_rap(client, request)
            return answer

    async def _tell_rap(self, client: Client, request: CancelRequest) -> None:
        order = CancelOrder(
            job_ids=tuple(ids.job_id(request.rap_id, action) for action in request.actions),
            at=request.at,
            by=request.by,
        )
        handle = client.get_workflow_handle(ids.rap_workflow_id(request.rap_id))
        try:
            await handle.signal(CANCEL_RAP, order, rpc_timeout=self._rpc_timeout)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def settle(self, backend: str, workspace: str, request: SettleRequest) -> SettleAnswer:
        """See :meth:`Orchestrator.settle`."""
        # Several processes that ask in the same minute get the answer to one update.
        minute = int(time.time() // 60)
        answer: SettleAnswer = await self._update_with_start(
            backend, workspace, SETTLE, request, SettleAnswer, f"{SETTLE}-{request.rap_id}-{minute}"
        )
        return answer

    async def _update_with_start(
        self,
        backend: str,
        workspace: str,
        update: str,
        argument: object,
        result: type,
        update_id: str | None = None,
    ) -> Any:  # noqa: ANN401 - of type ``result``
        workflow_id = ids.workspace_workflow_id(backend, workspace)
        texts = workspace_texts(backend, workspace)
        start: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
            WORKFLOW,
            WorkspaceStart(backend=backend, workspace=workspace),
            id=workflow_id,
            task_queue=ids.CONTROLLER_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            search_attributes=search_attributes(backend=backend, workspace=workspace),
            static_summary=texts.summary,
            static_details=texts.details,
        )
        async with self._asking(update, workflow_id) as client:
            try:
                return await client.execute_update_with_start_workflow(
                    update,
                    argument,
                    id=update_id,
                    result_type=result,
                    start_workflow_operation=start,
                    rpc_timeout=self._rpc_timeout,
                )
            finally:
                await _collect(start)

    @property
    def _rpc_timeout(self) -> timedelta:
        return timedelta(seconds=self._within)

    @asynccontextmanager
    async def _asking(self, order: str, workflow_id: str) -> AsyncIterator[Client]:
        """A client for one order; its failures become ours, and are logged once for each outage."""
        try:
            async with asyncio.timeout(self._within):
                yield await self._connected()
        except WorkflowUpdateFailedError as error:
            figures.ORDERS.labels(order, figures.Outcome.FAILED).inc()
            log.exception("A workspace failed at an order", workflow=workflow_id)
            raise OrderFailed("The workspace failed at the order.") from error
        except (
            Unavailable,
            TimeoutError,
            WorkflowUpdateRPCTimeoutOrCancelledError,
            RPCError,
        ) as error:
            figures.ORDERS.labels(order, figures.Outcome.LOST).inc()
            if not self._is_away:
                log.warning(
                    "Temporal did not answer an order", workflow=workflow_id, why=_why(error)
                )
            self._is_away = True
            raise OrderLost("Temporal did not answer.") from error
        if self._is_away:
            log.info("Temporal answers again")
        self._is_away = False
        figures.ORDERS.labels(order, figures.Outcome.ANSWERED).inc()

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client


async def _collect(start: WithStartWorkflowOperation[Any, Any]) -> None:
    """Take the second answer of an update with start, which is of no interest here.

    Left alone, it would be reported as an exception that nobody retrieved.
    """
    try:
        async with asyncio.timeout(0):
            await start.workflow_handle()
    except (RPCError, TimeoutError, asyncio.CancelledError):
        return


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
