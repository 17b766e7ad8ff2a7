"""The local activities that write the read model (architecture.md 2.5).

Each is one short transaction, repeated by Temporal until it succeeds; repeating one that did is
harmless. They run in threads of their own, because a busy database makes them wait, and because
they must never wait for a thread that a repository keeps busy. The spans of what was written are
emitted here, after it: :mod:`activities.controller.job_spans`.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from temporalio import activity

from activities import contracts
from activities.controller import job_spans
from rap import tracing
from rap.egress import Acknowledged
from rap.records import Move, Records
from rap.rows import BackendUpdate, IntentSettlement, JobChange, JobChanges

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

    @activity.defn(name=contracts.SETTLE_INTENT.name)
    async def settle_intent(self, settlement: IntentSettlement) -> Acknowledged:
        """Write what became of a create."""
        await self._write(self._records.settle, settlement)
        return Acknowledged()

    async def _write_moves(
        self,
        write: Callable[[Row], tuple[Move, ...]],
        row: Row,
        changes: Collection[JobChange],
    ) -> Acknowledged:
        if not tracing.is_on() or not changes:
            await self._write(write, row)
            return Acknowledged()
        start = time.time_ns()
        with tracing.span("loop", "LOOP", {"loop": True}) as loop:
            try:
                moves = await self._write(write, row)
            except Exception as error:
                job_spans.tell_unwritten(
                    changes, error, loop=loop.get_span_context(), start_ns=start
                )
                raise
            job_spans.tell_handled(moves, loop=loop.get_span_context(), start_ns=start)
        job_spans.tell(moves)
        return Acknowledged()

    async def _write(self, write: Callable[[Row], Written], row: Row) -> Written:
        return await asyncio.get_running_loop().run_in_executor(self._threads, write, row)
