"""The activity that finds out how the jobs of a RAP ended that does not tell of them any more.

What has ended tells so itself: a RAP of all its jobs, a job of its last attempt. Only who was
terminated tells nothing, and only that is what an administrator killed.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import structlog
from temporalio import activity
from temporalio.client import Client, WorkflowFailureError, WorkflowQueryFailedError
from temporalio.service import RPCError, RPCStatusCode

from activities.controller.for_clients import for_clients
from rap import ids
from rap.contracts import activities as contracts
from rap.contracts.workflows import RAP_ROWS, STOP
from rap.messages.jobs import AttemptResult, StopOrder, StopReason
from rap.messages.workspaces import LostRap, RapEnd, RapFate
from rap.records import Records, StoredJob
from rap.rows import JobChange
from rap.sentences import CODE_SENTENCES
from rap.status import StatusCode
from rap.temporal.client import is_running
from rap.temporal.ends import End, end_in
from rap.temporal.messages import query, send_signal
from workflows.rows import attempt_ended

log = structlog.get_logger()
_AT_ONCE = 20
_ROWS_WITHIN = timedelta(seconds=10)


class LostRaps:
    """Asks Temporal for the ends that the read model does not know."""

    def __init__(self, client: Client, records: Records) -> None:
        self._client, self._records = client, records
        self._gate = asyncio.Semaphore(_AT_ONCE)

    @activity.defn(name=contracts.FIND_ENDS.name)
    @for_clients
    async def find_ends(self, lost: LostRap) -> RapFate:
        """Find how those jobs of a RAP ended that readers take for unfinished.

        What still runs is stopped, and waited for. Of a job that was never started, or that was
        terminated, nothing is found.
        """
        rap = ids.rap_workflow_id(lost.workspace, lost.rap_id)
        if await is_running(self._client, rap):
            return RapFate(is_running=True)
        stored = await asyncio.to_thread(self._records.rap, lost.rap_id)
        unfinished = [job for job in stored if not job.status_code.is_final]
        end = await self._end_of(rap, RapEnd)
        if end is not None:
            return RapFate(changes=await self._told_by(rap, end, unfinished))
        for job in stored:
            if job.status_code is StatusCode.CANCELLED_BY_USER:
                # Readers know its end; whether its RAP came to stop it is not certain.
                await self._stop(_workflow_of(job))
        ends = await asyncio.gather(*(self._last_attempt(job, lost.wait_s) for job in unfinished))
        return RapFate(changes=tuple(change for change in ends if change is not None))

    async def _told_by(
        self, rap: str, end: RapEnd, unfinished: Sequence[StoredJob]
    ) -> tuple[JobChange, ...]:
        """What a RAP that has closed tells of its jobs: all, or what its close tells."""
        missing = {job.id for job in unfinished}
        try:
            rows = await query(self._client, RAP_ROWS, rap, within=_ROWS_WITHIN)
        except (RPCError, WorkflowQueryFailedError) as error:
            log.warning("A closed RAP does not tell its rows", workflow=rap, why=str(error))
            return tuple(_by_its_place(job, end) for job in unfinished)
        return tuple(change for change in rows.changes if change.job_id in missing)

    async def _last_attempt(self, job: StoredJob, wait_s: float) -> JobChange | None:
        """The end of a job by its last attempt, which is stopped if it runs."""
        workflow_id = _workflow_of(job)
        async with self._gate:
            was_running = await self._stop(workflow_id)
            result = None if was_running else await self._end_of(workflow_id, AttemptResult)
        if was_running:
            try:
                async with asyncio.timeout(wait_s):
                    result = await self._end_of(workflow_id, AttemptResult)
            except TimeoutError:
                return None
        if result is None or result.code is None or not result.code.is_final:
            return None
        return attempt_ended(job.id, result)

    async def _stop(self, workflow_id: str) -> bool:
        """Stop an attempt that has nobody to tell of its end; says whether it was running."""
        order = StopOrder(reason=StopReason.KILLED_BY_ADMIN)
        try:
            await send_signal(self._client, STOP, workflow_id, order)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def _end_of(self, workflow_id: str, kind: type[End]) -> End | None:
        """The end that a workflow tells of itself, once it has closed; ``None`` if it does not."""
        handle = self._client.get_workflow_handle(workflow_id, result_type=kind)
        try:
            end: End = await handle.result()
        except WorkflowFailureError as error:
            return end_in(error, kind)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        return end


def _workflow_of(job: StoredJob) -> str:
    return ids.job_workflow_id(job.workspace, job.action, job.id)


def _by_its_place(job: StoredJob, end: RapEnd) -> JobChange:
    code, at = end.codes[job.position], end.ended_at[job.position]
    return JobChange(
        job_id=job.id,
        attempt=end.attempts[job.position],
        code=code,
        message=CODE_SENTENCES[code],
        at=float(at or job.updated_at),
    )
