"""Finds what is inconsistent between Temporal and the read model, and mends it.

Every repair is one that the system makes by itself sooner or later, or an order that an operator
could give: a workflow is started again, a RAP is declared lost, a slot is asked about. None of them
stops a job that runs.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from rap import ids
from rap.egress import SILENT_AFTER_S
from rap.errors import ConfigurationError
from rap.findings import Finding, ok, problem, repaired, warning
from rap.messages import Announce, RapLost, WorkspaceStart
from rap.records import Records, StoredJob
from rap.rows import BackendRow
from rap.settings import ControllerSettings
from rap.temporal import search_attributes
from worker_controller.backends import runs, start_backend
from worker_controller.search_attributes import check_search_attributes
from workflows.describe import workspace_texts

YOUNG_S = 60.0
"""What is younger may still be on its way, and is left alone."""

INTENT_SETTLES_WITHIN_S = 600.0
SEEN_WITHIN_S = 30.0

Repair = Callable[[], Awaitable[None]]


class Doctor:
    """Examines one system.

    Args:
        client: of Temporal.
        records: the read model.
        settings: those of the controller.
        mend: whether to repair what can be repaired, or only to say so.
    """

    def __init__(
        self, client: Client, records: Records, settings: ControllerSettings, *, mend: bool
    ) -> None:
        self._client, self._records, self._settings = client, records, settings
        self._mend = mend

    async def examine(self) -> AsyncIterator[Finding]:
        """Look at everything, in the order in which it can be mended.

        Raises:
            Unavailable: the read model does not answer.
        """
        yield await self._search_attributes()
        for slug in self._settings.backends:
            yield await self._backend(slug)
        rows = await asyncio.to_thread(self._records.backends, self._settings.backends)
        for slug, row in rows.items():
            yield _agents(slug, row)
        jobs = [traced.job for traced in await asyncio.to_thread(self._records.unfinished)]
        for finding in await self._workspaces(jobs):
            yield finding
        for finding in await self._raps(jobs):
            yield finding
        for row in rows.values():
            for finding in await self._slots(row):
                yield finding
        yield await self._intents()

    async def _search_attributes(self) -> Finding:
        subject = f"namespace {self._client.namespace}"
        try:
            await check_search_attributes(self._client)
        except ConfigurationError as error:
            text, _, remedy = str(error).partition(" Add them with: ")
            return problem(subject, text, remedy)
        return ok(subject, "has the search attributes")

    async def _backend(self, slug: str) -> Finding:
        subject = f"backend {slug}"
        if await runs(self._client, ids.backend_workflow_id(slug)):
            return ok(subject, "its workflow runs")

        async def start() -> None:
            limits = self._settings.limits_of(slug)
            await start_backend(self._client, slug, limits, self._records)

        return await self._repair(
            subject, "its workflow did not run", "it was started again, with its switches", start
        )

    async def _workspaces(self, jobs: Iterable[StoredJob]) -> list[Finding]:
        found = []
        for backend, workspace in sorted({(job.backend, job.workspace) for job in jobs}):
            workflow_id = ids.workspace_workflow_id(backend, workspace)
            if await runs(self._client, workflow_id):
                continue

            async def start(backend: str = backend, workspace: str = workspace) -> None:
                texts = workspace_texts(backend, workspace)
                await self._client.start_workflow(
                    "WorkspaceWorkflow",
                    WorkspaceStart(backend=backend, workspace=workspace, recovering=True),
                    id=ids.workspace_workflow_id(backend, workspace),
                    task_queue=ids.CONTROLLER_QUEUE,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    search_attributes=search_attributes(backend=backend, workspace=workspace),
                    static_summary=texts.summary,
                    static_details=texts.details,
                )

            found.append(
                await self._repair(
                    f"workspace {workspace} on {backend}",
                    "it has unfinished jobs, but its workflow did not run",
                    "it was started again, and knows its jobs",
                    start,
                )
            )
        return found or [ok("workspaces", "all with unfinished jobs have their workflow")]

    async def _raps(self, jobs: Iterable[StoredJob]) -> list[Finding]:
        of_rap: dict[str, list[StoredJob]] = {}
        for job in jobs:
            if job.created_at < time.time() - YOUNG_S:
                of_rap.setdefault(job.rap_id, []).append(job)
        found = []
        for rap_id, some in of_rap.items():
            if await runs(self._client, ids.rap_workflow_id(rap_id)):
                continue

            async def lose(rap_id: str = rap_id, some: list[StoredJob] = some) -> None:
                workspace = ids.workspace_workflow_id(some[0].backend, some[0].workspace)
                await self._client.get_workflow_handle(workspace).signal(
                    "rap_lost",
                    RapLost(rap_id=rap_id, job_ids=tuple(job.id for job in some)),
                )
                await self._until_over(rap_id)

            found.append(
                await self._repair(
                    f"RAP {rap_id}",
                    f"{len(some)} jobs are shown as unfinished, but nothing runs them any more",
                    "they are now shown as killed by an administrator; its workspace is free",
                    lose,
                )
            )
        return found or [ok("RAPs", "all unfinished ones have their workflow")]

    async def _until_over(self, rap_id: str) -> None:
        async with asyncio.timeout(SEEN_WITHIN_S):
            while True:
                jobs = await asyncio.to_thread(self._records.rap, rap_id)
                if all(job.status_code.is_final for job in jobs):
                    return
                await asyncio.sleep(0.2)

    async def _slots(self, row: BackendRow) -> list[Finding]:
        found = []
        for slot in row.slots:
            if slot.since > time.time() - YOUNG_S:
                continue
            if await runs(self._client, ids.job_workflow_id(slot.job_id)):
                continue
            rap = ids.rap_workflow_id(slot.rap_id)

            async def ask(rap: str = rap) -> None:
                await self._client.get_workflow_handle(rap).signal("announce", Announce())

            if await runs(self._client, rap):
                found.append(
                    await self._repair(
                        f"slot of job {slot.job_id} on {row.slug}",
                        "nothing runs in it",
                        "its RAP was asked which of its jobs run; the others' slots become free",
                        ask,
                    )
                )
        return found or [ok(f"slots of {row.slug}", f"{len(row.slots)} used, each by a job")]

    async def _intents(self) -> Finding:
        old = await asyncio.to_thread(
            self._records.unsettled, time.time() - INTENT_SETTLES_WITHIN_S
        )
        if not old:
            return ok("creates", "all are decided")
        return warning(
            "creates",
            f"{len(old)} have been undecided for ten minutes, the oldest {old[0].rap_id}",
            "Their API settles them while it runs and reaches Temporal: look at its log.",
        )

    async def _repair(self, subject: str, wrong: str, mended: str, repair: Repair) -> Finding:
        if not self._mend:
            return problem(subject, wrong, "Run `rap doctor` without --dry-run.")
        try:
            await repair()
        except (RPCError, TimeoutError) as error:
            return problem(
                subject,
                f"{wrong}, and mending that failed ({type(error).__name__})",
                "See whether the controller runs, then run `rap doctor` again.",
            )
        return repaired(subject, f"{wrong}; {mended}")


def _agents(slug: str, row: BackendRow) -> Finding:
    living = [agent.host for agent in row.agents if agent.at > time.time() - SILENT_AFTER_S]
    if living:
        return ok(f"agents of {slug}", ", ".join(living))
    return warning(
        f"agents of {slug}",
        "none is connected" + ("" if row.last_seen else ", and none ever was"),
        "On a host of the backend: see whether the agent runs, then `rap agent check`.",
    )
