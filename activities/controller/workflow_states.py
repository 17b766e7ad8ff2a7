"""The controller's activity that looks after other workflows."""

import asyncio

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities import contracts
from rap.messages import WorkflowIds
from rap.models import BackendRequest

_AT_ONCE = 20


class WorkflowStates:
    """Asks Temporal which workflows still run."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._gate = asyncio.Semaphore(_AT_ONCE)

    @activity.defn(name=contracts.FIND_CLOSED.name)
    async def find_closed(self, asked: WorkflowIds) -> WorkflowIds:
        """Find those that have ended, were terminated, or never existed."""
        runs = await asyncio.gather(*(self._runs(workflow_id) for workflow_id in asked.ids))
        closed = [name for name, alive in zip(asked.ids, runs, strict=True) if not alive]
        return WorkflowIds(ids=tuple(closed))

    @activity.defn(name=contracts.FIND_RAPS.name)
    async def find_raps(self, request: BackendRequest) -> WorkflowIds:
        """Find the workflows of all RAPs of a backend that run."""
        query = (
            "WorkflowType = 'RapWorkflow' AND ExecutionStatus = 'Running' "
            f"AND Backend = '{request.backend}'"
        )
        found = [one.id async for one in self._client.list_workflows(query)]
        return WorkflowIds(ids=tuple(sorted(found)))

    async def _runs(self, workflow_id: str) -> bool:
        async with self._gate:
            try:
                description = await self._client.get_workflow_handle(workflow_id).describe()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return False
                raise
        return description.status is WorkflowExecutionStatus.RUNNING
