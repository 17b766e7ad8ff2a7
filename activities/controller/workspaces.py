"""The controller's activity that looks up what a workspace knew before it was lost."""

import asyncio

from temporalio import activity

from activities.contracts import LOAD_WORKSPACE
from rap.messages import WorkspaceStart
from rap.records import Records
from workflows.workspace_recovery import recovered


class WorkspaceActivities:
    """Reads the records of workspaces."""

    def __init__(self, records: Records) -> None:
        self._records = records

    @activity.defn(name=LOAD_WORKSPACE.name)
    async def load_workspace(self, start: WorkspaceStart) -> WorkspaceStart:
        """The jobs and RAPs of a workspace by its records; nothing if it is new."""
        jobs = await asyncio.to_thread(self._records.of_workspace, start.backend, start.workspace)
        return recovered(start.backend, start.workspace, jobs)
