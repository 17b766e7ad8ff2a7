"""Finds what is inconsistent between Temporal and the read model, and mends it.

Every repair is one that the system makes by itself sooner or later, or an order that an operator
could give: a workflow is started again, a RAP is declared lost, a slot is asked about. None of them
stops a job that runs.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from temporalio.client import Client
from temporalio.service import RPCError

from rap import ids
from rap.contracts.workflows import ANNOUNCE, RAP_LOST, WORKSPACE
from rap.deadlines import OFFERED_EVERY_S, OFFERED_FOR_S
from rap.egress import SILENT_AFTER_S, Fault
from rap.errors import ConfigurationError, Unavailable
from rap.findings import Finding, ok, problem, repaired, warning
from rap.messages.slots import Announce
from rap.messages.workspaces import RapLost, WorkspaceStart
from rap.records import Records, StoredJob
from rap.rows import BackendRow
from rap.sentences import OTHER_STORAGE_REMEDY
from rap.settings import ControllerSettings
from rap.status_answers import whole_seconds
from rap.temporal.client import is_running
from rap.temporal.health import CANNOT_WORK, REMEDY, Condition, condition_of
from rap.temporal.messages import send_signal, start_workflow
from worker_controller.backends import start_backend
from worker_controller.search_attributes import check_search_attributes
from workflows.workspace.start import workspace_options

YOUNG_S = 60.0
"""What is younger may still be on its way, and is left alone."""

SEEN_WITHIN_S = 90.0
"""What has to wind down first takes half a minute."""


class Doctor:
    """Examines one system; with ``mend`` it repairs what can be repaired."""

    def __init__(
        self, client: Client, records: Records, settings: ControllerSettings, *, mend: bool
    ) -> None:
        self._client, self._records, self._settings = client, records, settings
        self._mend = mend

    async def examine(self) -> list[Finding]:
        """Look at everything, in the order in which it can be mended.

        Nothing can while Temporal itself or the read model cannot work.
        """
        if await condition_of(self._client) is Condition.CANNOT_WORK:
            return [problem("Temporal", CANNOT_WORK, REMEDY)]
        try:
            await asyncio.to_thread(self._records.check)
        except Unavailable as error:
            return [await self._search_attributes(), _unusable(error)]
        found = [await self._search_attributes()]
        found += [await self._backend(slug) for slug in self._settings.backends]
        rows = await asyncio.to_thread(self._records.backends, self._settings.backends)
        found += [_agents(slug, row) for slug, row in rows.items()]
        jobs = await asyncio.to_thread(self._records.unfinished)
        found += await self._workspaces(jobs)
        found += await self._raps(jobs)
        for row in rows.values():
            found += await self._slots(row)
            found += await self._windows(row)
        return [*found, await self._intents()]

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
        if await is_running(self._client, ids.backend_workflow_id(slug)):
            return ok(subject, "its workflow runs")
        limits = self._settings.limits_of(slug)
        return await self._repair(
            subject,
            "its workflow did not run",
            "it was started again, with its switches",
            partial(start_backend, self._client, slug, limits, self._records),
        )

    async def _workspaces(self, jobs: Iterable[StoredJob]) -> list[Finding]:
        found = []
        for backend, workspace in sorted({(job.backend, job.workspace) for job in jobs}):
            workflow_id = ids.workspace_workflow_id(backend, workspace)
            if await is_running(self._client, workflow_id):
                continue
            message = WorkspaceStart(backend=backend, workspace=workspace, recovering=True)
            options = workspace_options(backend, workspace)
            found.append(
                await self._repair(
                    f"workspace {workspace} on {backend}",
                    "it has unfinished jobs, but its workflow did not run",
                    "it was started again, and knows its jobs",
                    partial(start_workflow, self._client, WORKSPACE, message, options),
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
            rap = ids.rap_workflow_id(some[0].workspace, rap_id)
            if await is_running(self._client, rap):
                continue
            found.append(
                await self._repair(
                    f"RAP {rap_id}",
                    f"{len(some)} jobs are shown as unfinished, but nothing runs them any more",
                    "they are now shown as they ended",
                    partial(self._lose, rap_id, some),
                )
            )
        return found or [ok("RAPs", "all unfinished ones have their workflow")]

    async def _lose(self, rap_id: str, some: list[StoredJob]) -> str:
        """Have the workspace find out how the jobs ended; tells it."""
        workspace = ids.workspace_workflow_id(some[0].backend, some[0].workspace)
        lost = RapLost(rap_id=rap_id, job_ids=tuple(job.id for job in some))
        await send_signal(self._client, RAP_LOST, workspace, lost)
        async with asyncio.timeout(SEEN_WITHIN_S):
            while True:
                jobs = await asyncio.to_thread(self._records.rap, rap_id)
                if all(job.status_code.is_final for job in jobs):
                    ended = {job.id for job in some}
                    codes = Counter(job.status_code.value for job in jobs if job.id in ended)
                    return ", ".join(f"{count} {code}" for code, count in codes.items())
                await asyncio.sleep(0.2)

    async def _slots(self, row: BackendRow) -> list[Finding]:
        found = []
        for slot in row.slots:
            if slot.since > time.time() - YOUNG_S:
                continue
            job = ids.job_workflow_id(slot.workspace, slot.action, slot.job_id)
            if await is_running(self._client, job):
                continue
            rap = ids.rap_workflow_id(slot.workspace, slot.rap_id)
            if await is_running(self._client, rap):
                found.append(
                    await self._repair(
                        f"slot of job {slot.job_id} on {row.slug}",
                        "nothing runs in it",
                        "its RAP was asked which of its jobs run; the others' slots become free",
                        partial(send_signal, self._client, ANNOUNCE, rap, Announce()),
                    )
                )
        return found or [ok(f"slots of {row.slug}", f"{len(row.slots)} used, each by a job")]

    async def _windows(self, row: BackendRow) -> list[Finding]:
        found = []
        for name, window in row.windows.items():
            closer, until = window.workflow_id, window.until
            if not closer or until is None or await is_running(self._client, closer):
                continue
            found.append(
                warning(
                    f"window {name} of {row.slug}",
                    f"it is open, but its workflow {closer} does not run any more; it ends by "
                    f"itself at {whole_seconds(int(until))}",
                    f"To end it now: {window.kind.ended_by(row.slug)}",
                )
            )
        return found

    async def _intents(self) -> Finding:
        undecided, now = await asyncio.to_thread(self._records.undecided)
        limit = OFFERED_FOR_S + 2 * OFFERED_EVERY_S
        old = [intent for intent in undecided if intent.created_at < now - limit]
        if not old:
            on_the_way = f"; {len(undecided)} are offered again" if undecided else ""
            return ok("creates", f"none is overdue{on_the_way}")
        return warning(
            "creates",
            f"{len(old)} should have been given up by now, the oldest {old[0].rap_id}",
            "An API does that while it runs and reaches Temporal: look at its log.",
        )

    async def _repair(
        self, subject: str, wrong: str, mended: str, repair: Callable[[], Awaitable[object]]
    ) -> Finding:
        """Mend something; what the repair tells, if that is a text, is said behind."""
        if not self._mend:
            return problem(subject, wrong, "Run `rap doctor` without --dry-run.")
        try:
            told = await repair()
        except (RPCError, TimeoutError) as error:
            return problem(
                subject,
                f"{wrong}, and mending that failed ({type(error).__name__})",
                "See whether the controller runs, then run `rap doctor` again.",
            )
        return repaired(
            subject, f"{wrong}; {mended}" + (f": {told}" if isinstance(told, str) else "")
        )


def _unusable(error: Unavailable) -> Finding:
    what, _, remedy = str(error).partition(". ")
    return problem("read model", f"{what}.", remedy)


def _agents(slug: str, row: BackendRow) -> Finding:
    living = [agent.host for agent in row.agents if agent.at > time.time() - SILENT_AFTER_S]
    trouble = [
        f"{agent.host}: {', '.join(fault.value for fault in agent.closed)}"
        for agent in row.agents
        if agent.host in living and agent.closed
    ]
    if any(Fault.OTHER_STORAGE in agent.closed for agent in row.agents if agent.host in living):
        return problem(
            f"agents of {slug}", f"take no jobs: {'; '.join(trouble)}", OTHER_STORAGE_REMEDY
        )
    if trouble:
        return warning(
            f"agents of {slug}",
            f"take no jobs that this concerns: {'; '.join(trouble)}",
            "On that host: `rap agent check`. Jobs wait, and start by themselves once it is over.",
        )
    if living:
        return ok(f"agents of {slug}", ", ".join(living))
    return warning(
        f"agents of {slug}",
        "none is connected" + ("" if row.last_seen else ", and none ever was"),
        "On a host of the backend: see whether the agent runs, then `rap agent check`.",
    )
