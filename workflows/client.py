"""Giving orders to workspaces over Temporal, and waiting for their answers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

import structlog
from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.service import RPCError, RPCStatusCode

from rap import ids
from rap.contracts.kinds import Update
from rap.contracts.workflows import CANCEL, CANCEL_JOBS, CREATE_RAP, SETTLE_RAP, WORKSPACE
from rap.errors import RapError, Unavailable
from rap.messages import workspaces
from rap.models import CreateRequest
from rap.temporal.messages import execute_update, execute_update_with_start, send_signal
from workflows.workspace.start import workspace_options

log = structlog.get_logger()
_NO_ANSWER = (Unavailable, TimeoutError, WorkflowUpdateRPCTimeoutOrCancelledError, RPCError)
Argument = TypeVar("Argument")
Answer = TypeVar("Answer")


class OrderOutcome(StrEnum):
    """What became of an order."""

    ANSWERED = "answered"
    FAILED = "failed"
    LOST = "lost"


class OrderLost(Unavailable):
    """No answer came: whether the order was or will be carried out is not known."""


class OrderFailed(RapError):
    """The workspace failed at the order in a way nobody foresaw, or was ended meanwhile."""


class TemporalOrchestrator:
    """The orders as updates of the workflow of a workspace.

    Raises:
        OrderLost: (any order) no answer came.
        OrderFailed: (any order) nor will it be answered.

    It connects at the first order, and tries again until it succeeds. An order counts as lost
    after ``within`` seconds; ``count`` is told what became of each.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Client]],
        within: float,
        count: Callable[[str, OrderOutcome], None] = lambda _order, _outcome: None,
    ) -> None:
        self._connect = connect
        self._within = timedelta(seconds=within)
        self._count = count
        self._client: Client | None = None
        self._connecting = asyncio.Lock()
        self._is_away = False

    async def create(self, request: CreateRequest) -> workspaces.CreateAnswer:
        """Create a RAP, starting the workflow of its workspace if there is none."""
        return await self._update_with_start(
            CREATE_RAP, request, backend=request.backend, workspace=request.workspace
        )

    async def cancel(
        self, backend: str, workspace: str, request: workspaces.CancelRequest
    ) -> workspaces.CancelAnswer:
        """Cancel jobs of a RAP; nothing to do if its workspace has no workflow any more."""
        workflow_id = ids.workspace_workflow_id(backend, workspace)
        async with self._asking(CANCEL_JOBS, workflow_id) as client:
            try:
                answer = await execute_update(
                    client, CANCEL_JOBS, workflow_id, request, within=self._within
                )
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                answer = workspaces.CancelAnswer(cancelled=0)
            if not answer.cancelled:
                # The workspace has forgotten a RAP that is over, or lost sight of one that is not.
                await self._cancel_at_rap(client, workspace, request)
            return answer

    async def _cancel_at_rap(
        self, client: Client, workspace: str, request: workspaces.CancelRequest
    ) -> None:
        order = workspaces.CancelOrder(
            job_ids=tuple(ids.job_id(request.rap_id, action) for action in request.actions),
            by=request.by,
        )
        rap = ids.rap_workflow_id(workspace, request.rap_id)
        try:
            await send_signal(client, CANCEL, rap, order, within=self._within)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise

    async def settle(
        self, backend: str, workspace: str, request: workspaces.SettleRequest
    ) -> workspaces.SettleAnswer:
        """Give up a create that was undecided for long, unless it was carried out after all."""
        return await self._update_with_start(
            SETTLE_RAP, request, backend=backend, workspace=workspace
        )

    async def _update_with_start(
        self,
        update: Update[Argument, Answer],
        argument: Argument,
        *,
        backend: str,
        workspace: str,
    ) -> Answer:
        options = workspace_options(backend, workspace)
        async with self._asking(update, options["id"]) as client:
            return await execute_update_with_start(
                client,
                update,
                argument,
                (WORKSPACE, workspaces.WorkspaceStart(backend=backend, workspace=workspace)),
                options,
                within=self._within,
            )

    @asynccontextmanager
    async def _asking(self, order: Update[Any, Any], workflow_id: str) -> AsyncIterator[Client]:
        """A client for one order; its failures become ours, and are logged once for each outage."""
        try:
            async with asyncio.timeout(self._within.total_seconds()):
                yield await self._connected()
        except WorkflowUpdateFailedError as error:
            self._count(order.name, OrderOutcome.FAILED)
            log.exception("A workspace failed at an order", workflow=workflow_id)
            raise OrderFailed("The workspace failed at the order.") from error
        except _NO_ANSWER as error:
            self._count(order.name, OrderOutcome.LOST)
            if not self._is_away:
                why = str(error) or type(error).__name__
                log.warning("Temporal did not answer an order", workflow=workflow_id, why=why)
            self._is_away = True
            raise OrderLost("Temporal did not answer.") from error
        if self._is_away:
            log.info("Temporal answers again")
        self._is_away = False
        self._count(order.name, OrderOutcome.ANSWERED)

    async def _connected(self) -> Client:
        async with self._connecting:
            if self._client is None:
                self._client = await self._connect()
            return self._client
