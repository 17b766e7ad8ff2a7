"""The activities that write the read model, and the one that reads it
(docs/explanation/architecture.md).

Each write is a local activity: one short transaction, repeated by Temporal until it succeeds;
repeating one that did is harmless. Writes have threads of their own, because a busy database makes
them wait, and because they must never wait for a thread that a repository keeps busy. The spans of
what was written are emitted here, after it: :mod:`activities.controller.job_spans`.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from temporalio import activity

from activities.controller import job_spans
from activities.controller.for_clients import for_clients
from rap.contracts import activities as contracts
from rap.egress import Acknowledged
from rap.messages.workspaces import WorkspaceStart
from rap.records import Move, Records
from rap.rows import (
    BackendUpdate,
    Intent,
    IntentSettlement,
    JobChange,
    JobChanges,
    JobStates,
    RapEnding,
)
from rap.telemetry import traces
from workflows.rows import killed
from workflows.workspace.recovery import recovered

_THREADS = 4

Row = TypeVar("Row")
Written = TypeVar("Written")


class RecordsActivities:
    """The only writers of job and backend rows."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="records")

    @activity.defn(name=contracts.RECORD_JOBS.name)
    async def record_jobs(self, changes: JobChanges) -> Acknowledged:
        """Write what changed in one workflow task of a workspace or a RAP."""
        return await self._write_moves(self._records.record_jobs, changes, changes.changes)

    @activity.defn(name=contracts.RECORD_BACKEND.name)
    async def record_backend(self, update: BackendUpdate) -> Acknowledged:
        """Write a backend's row, and the stages of its running jobs."""
        return await self._write_moves(self._records.record_backend, update, update.changes)

    @activity.defn(name=contracts.END_RAP.name)
    async def end_rap(self, ending: RapEnding) -> JobStates:
        """End what is unfinished by the records; what has ended stays as readers were told."""
        jobs = await asyncio.to_thread(self._records.rap, ending.rap_id)
        unfinished = [job.id for job in jobs if not job.status_code.is_final]
        if unfinished:
            await self.record_jobs(killed(unfinished, at=ending.at))
            # Something may have come to its own end in between.
            jobs = await asyncio.to_thread(self._records.rap, ending.rap_id)
        return JobStates(states={job.id: job.status_code.state for job in jobs})

    @activity.defn(name=contracts.CLAIM_RAP.name)
    async def claim_rap(self, claimed: Intent) -> Intent:
        """Write which workspace makes a RAP, unless another does."""
        return await self._write(self._records.claim, claimed)

    @activity.defn(name=contracts.SETTLE_INTENT.name)
    async def settle_intent(self, settlement: IntentSettlement) -> Acknowledged:
        """Write what became of a create."""
        await self._write(self._records.settle, settlement)
        return Acknowledged()

    @activity.defn(name=contracts.LOAD_WORKSPACE.name)
    @for_clients
    async def load_workspace(self, start: WorkspaceStart) -> WorkspaceStart:
        """Answer with what a workspace knew before it was lost; with nothing if it is new."""
        jobs = await asyncio.to_thread(self._records.of_workspace, start.backend, start.workspace)
        return recovered(start.backend, start.workspace, jobs)

    async def _write_moves(
        self, write: Callable[[Row], tuple[Move, ...]], row: Row, changes: Collection[JobChange]
    ) -> Acknowledged:
        if not traces.is_on() or not changes:
            await self._write(write, row)
            return Acknowledged()
        start = time.time_ns()
        with traces.span("loop", "LOOP", {"loop": True}) as loop:
            try:
                moves = await self._write(write, row)
            except Exception as error:
                job_spans.emit_unwritten(changes, error, loop.get_span_context(), start)
                raise
            job_spans.emit_handled(moves, loop.get_span_context(), start)
        job_spans.emit(moves)
        return Acknowledged()

    async def _write(self, write: Callable[[Row], Written], row: Row) -> Written:
        return await asyncio.get_running_loop().run_in_executor(self._threads, write, row)
