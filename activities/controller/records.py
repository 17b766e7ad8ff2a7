"""The local activities that write the read model (architecture.md 2.5).

Each is one short transaction, repeated by Temporal until it succeeds; repeating one that did is
harmless. They run in threads, because a busy database makes them wait.
"""

import asyncio

from temporalio import activity

from activities import contracts
from rap.egress import Acknowledged
from rap.records import Records
from rap.rows import BackendUpdate, IntentSettlement, JobChanges


class RecordsActivities:
    """The only writers of job and backend rows."""

    def __init__(self, records: Records) -> None:
        self._records = records

    @activity.defn(name=contracts.RECORD_JOBS.name)
    async def record_jobs(self, changes: JobChanges) -> Acknowledged:
        """Write what changed in one workflow task of a workspace or a RAP."""
        await asyncio.to_thread(self._records.record_jobs, changes)
        return Acknowledged()

    @activity.defn(name=contracts.RECORD_BACKEND.name)
    async def record_backend(self, update: BackendUpdate) -> Acknowledged:
        """Write a backend's row, and the stages of its running jobs."""
        await asyncio.to_thread(self._records.record_backend, update)
        return Acknowledged()

    @activity.defn(name=contracts.SETTLE_INTENT.name)
    async def settle_intent(self, settlement: IntentSettlement) -> Acknowledged:
        """Write what became of a create."""
        await asyncio.to_thread(self._records.settle, settlement)
        return Acknowledged()
