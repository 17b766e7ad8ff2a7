"""The controller's activity that looks after other workflows."""

import asyncio
import time

from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import CancelledError, TerminatedError
from temporalio.service import RPCError, RPCStatusCode

from activities.controller.for_clients import for_clients
from rap.contracts import activities as contracts
from rap.contracts.workflows import ATTEMPT
from rap.messages.backends import WorkflowIds
from rap.messages.jobs import AttemptEnd, AttemptEnds, AttemptQuestion, AttemptResult, LatestAttempt
from rap.models import BackendRequest
from rap.temporal.client import is_running
from rap.temporal.ends import end_in
from rap.temporal.messages import query

_AT_ONCE = 20
_HEARTBEAT_EVERY_S = 10.0
"""Of the activity that waits for attempts; it is taken for dead after a minute."""
_LONGEST_WAIT_S = 1800.0
"""Then the same is asked again: an activity that lasts for days would be hard to follow."""
_TOGETHER_S = 0.05
"""Where one attempt has ended, others often have too, and are told in one answer."""


class WorkflowStates:
    """Asks Temporal which workflows still run."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._gate = asyncio.Semaphore(_AT_ONCE)

    @activity.defn(name=contracts.FIND_CLOSED.name)
    @for_clients
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

    @activity.defn(name=contracts.LATEST_ATTEMPT.name)
    async def latest_attempt(self, asked: AttemptQuestion) -> LatestAttempt:
        """Find the latest attempt at a job; it may have ended."""
        try:
            return LatestAttempt(attempt=await query(self._client, ATTEMPT, asked.workflow_id))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return LatestAttempt()

    @activity.defn(name=contracts.AWAIT_ATTEMPTS.name)
    async def await_attempts(self, asked: WorkflowIds) -> AttemptEnds:
        """Wait until one of some attempts has ended; tell all that have.

        After half an hour, or when this process is to end, nothing is told.
        """
        ends = {asyncio.create_task(self._end_of(workflow_id)) for workflow_id in asked.ids}
        over = asyncio.create_task(_is_to_end())
        try:
            done: set[asyncio.Task[AttemptEnd]] = set()
            deadline = time.monotonic() + _LONGEST_WAIT_S
            while not (done or over.done()) and time.monotonic() < deadline:
                activity.heartbeat()
                await asyncio.wait(
                    {*ends, over},
                    timeout=_HEARTBEAT_EVERY_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if any(task.done() for task in ends):
                    done, _ = await asyncio.wait(ends, timeout=_TOGETHER_S)
            return AttemptEnds(ends=tuple(task.result() for task in done))
        finally:
            for task in (*ends, over):
                task.cancel()
            await asyncio.gather(*ends, over, return_exceptions=True)

    async def _end_of(self, workflow_id: str) -> AttemptEnd:
        while True:
            handle = self._client.get_workflow_handle(workflow_id, result_type=AttemptResult)
            try:
                return AttemptEnd(workflow_id=workflow_id, result=await handle.result())
            except WorkflowFailureError as error:
                result = end_in(error, AttemptResult)
                if result is not None:
                    return AttemptEnd(workflow_id=workflow_id, result=result)
                if await is_running(self._client, workflow_id):
                    # It was reset, and is being run again from there.
                    continue
                by_hand = isinstance(error.cause, TerminatedError | CancelledError)
                return AttemptEnd(workflow_id=workflow_id, killed=by_hand)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                # Deleted by hand, or ended so long ago that it is not kept any more.
                return AttemptEnd(workflow_id=workflow_id, killed=True)

    async def _runs(self, workflow_id: str) -> bool:
        async with self._gate:
            return await is_running(self._client, workflow_id)


async def _is_to_end() -> None:
    await activity.wait_for_worker_shutdown()
