"""The local activities that write the read model (architecture.md 2.5).

Each is one short transaction, repeated by Temporal until it succeeds; repeating one that did is
harmless. They run in threads of their own, because a busy database makes them wait, and because
they must never wait for a thread that a repository keeps busy.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from temporalio import activity

from activities import contracts
from rap.egress import Acknowledged
from rap.records import Records
from rap.rows import BackendUpdate, IntentSettlement, JobChanges

_THREADS = 4

Row = TypeVar("Row")


class RecordsActivities:
    """The only writers of job and backend rows."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="records")

    @activity.defn(name=contracts.RECORD_JOBS.name)
    async def record_jobs(self, changes: JobChanges) -> Acknowledged:
        """Write what changed in one workflow task of a workspace or a RAP."""
        return await self._write(self._records.record_jobs, changes)

    @activity.defn(name=contracts.RECORD_BACKEND.name)
    async def record_backend(self, update: BackendUpdate) -> Acknowledged:
        """Write a backend's row, and the stages of its running jobs."""
        return await self._write(self._records.record_backend, update)

    @activity.defn(name=contracts.SETTLE_INTENT.name)
    async def settle_intent(self, settlement: IntentSettlement) -> Acknowledged:
        """Write what became of a create."""
        return await self._write(self._records.settle, settlement)

    async def _write(self, write: Callable[[Row], None], row: Row) -> Acknowledged:
        await asyncio.get_running_loop().run_in_executor(self._threads, write, row)
        return Acknowledged()
