"""What nobody tells a backend, and how it notices: it looks round every half minute.

A RAP that was terminated frees its slots, and its workspace hears of it. A workspace that was
terminated is started again. A slot whose job runs no more is asked about. A maintenance window
whose workflow was terminated closes at its planned end. Waiting jobs are weighed again when the
weights of their backend have changed.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from rap import ids
from rap.contracts.activities import FIND_CLOSED, FIND_RAPS, LOAD_WEIGHTS
from rap.contracts.workflows import ANNOUNCE
from rap.messages.backends import Errand, ErrandKind, WorkflowIds
from rap.messages.slots import Announce, Reservation
from rap.models import BackendRequest
from workflows.backend.errands import AT_ONCE, ErrandList
from workflows.backend.state import BackendState
from workflows.calls import on_controller, send_signal
from workflows.run_length import LOOKED, RunLength

LIMIT = timedelta(seconds=30)
"""For each question: what is not answered by then is asked again on the next round."""

ANNOUNCEMENTS_WITHIN = timedelta(seconds=30)


class Watch:
    """The eyes of one backend; it calls ``touch`` when something may have changed.

    It holds nothing of its own: what is to be done about what it saw goes to ``errands``.
    """

    def __init__(
        self,
        state: BackendState,
        errands: ErrandList,
        length: RunLength,
        *,
        every_s: float,
        due: float | None,
        touch: Callable[[], None],
        close_windows: Callable[[], None],
    ) -> None:
        self._state, self._errands, self._length = state, errands, length
        self._every_s, self._touch, self._close_windows = every_s, touch, close_windows
        self.due = due
        """When the next look round is due; a busy backend continues as new more often than that."""
        self._unheard: set[str] = set()

    async def run(self) -> None:
        """Look round for as long as the backend lives."""
        while True:
            await workflow.sleep(self._pause(workflow.time()), summary="look round")
            self.due = None
            self._length.add(LOOKED)
            # An agent that fell silent shows by the mere passing of time.
            self._touch()
            self._close_windows()
            raps = self._state.rap_ids()
            if not raps and not self._state.windows.closers():
                continue
            try:
                if self._state.waiting:
                    await self._look_up_weights()
                await self._look_for_vanished(raps)
            except ActivityError:
                # Temporal or the controller is busy; there is a next time.
                continue

    def _pause(self, now: float) -> float:
        """Seconds until the next look round, or the end of a window that nobody else closes."""
        if self.due is None:
            self.due = now + self._every_s
        end = self._state.windows.next_end()
        return max(0.001, (self.due if end is None else min(self.due, end)) - now)

    async def recover(self) -> None:
        """Learn from the running RAPs what a backend that was lost knew of their jobs.

        Returns when all have answered, or after half a minute.
        """
        while True:
            try:
                found = await self._find_raps()
                break
            except ActivityError:
                await workflow.sleep(self._every_s, summary="ask for the RAPs again")
        self._unheard = set(map(ids.rap_of_workflow, found.ids))
        for some in range(0, len(found.ids), AT_ONCE):
            await asyncio.gather(*map(self._ask, found.ids[some : some + AT_ONCE]))
        try:
            await workflow.wait_condition(
                lambda: not self._unheard,
                timeout=ANNOUNCEMENTS_WITHIN,
                timeout_summary="RAPs say what they run",
            )
        except TimeoutError:
            workflow.logger.warning("%d RAPs did not say what they run", len(self._unheard))

    def heard(self, rap_id: str) -> None:
        """Take note that a RAP has announced its jobs."""
        self._unheard.discard(rap_id)

    async def _ask(self, workflow_id: str) -> None:
        if not await send_signal(ANNOUNCE, workflow_id, Announce(), attempts=1):
            self._unheard.discard(ids.rap_of_workflow(workflow_id))

    async def _look_up_weights(self) -> None:
        weights = await on_controller(
            LOAD_WEIGHTS,
            BackendRequest(backend=self._state.slug),
            limit=LIMIT,
            summary="look up the weights of jobs",
        )
        if weights == self._state.weights:
            return
        self._state.weights = weights
        for rap_id, workspaces in self._state.rap_ids().items():
            for workspace in sorted(workspaces):
                self._put(ErrandKind.REWEIGH, rap_id, workspace)

    async def _look_for_vanished(self, raps: dict[str, set[str]]) -> None:
        now = workflow.time()
        workspaces = {
            ids.workspace_workflow_id(self._state.slug, name): name
            for name in sorted({name for names in raps.values() for name in names})
        }
        workflows = {
            ids.rap_workflow_id(name, rap_id): (rap_id, name)
            for rap_id, names in raps.items()
            for name in sorted(names)
        }
        doubtful = {
            _workflow_of(job): (job.rap_id, job.request.workspace)
            for job in self._state.agents.unreported(self._state.running, now)
        }
        closers = self._state.windows.closers()
        answer = await on_controller(
            FIND_CLOSED,
            WorkflowIds(ids=(*workflows, *workspaces, *doubtful, *closers)),
            limit=LIMIT,
            summary="look for what has vanished",
        )
        closed = set(answer.ids)
        if self._state.windows.lose(closed):
            self._touch()
        for workflow_id, name in workspaces.items():
            if workflow_id in closed:
                self._put(ErrandKind.WORKSPACE, workspace=name)
        lost = [rap for workflow_id, rap in workflows.items() if workflow_id in closed]
        for rap_id, name in lost:
            self._state.release_rap(rap_id)
            self._touch()
            self._put(ErrandKind.RAP_LOST, rap_id, name)
        asked_about = {rap for job, rap in doubtful.items() if job in closed}
        for rap_id, name in sorted(asked_about - set(lost)):
            self._put(ErrandKind.ANNOUNCE, rap_id, name)
        await self._forget_priorities({rap_id for rap_id, names in raps.items() if not names})

    async def _forget_priorities(self, raps: set[str]) -> None:
        """Those of RAPs that have ended; of RAPs without a job here only the ids are known."""
        if raps:
            running = await self._find_raps()
            for rap_id in raps - set(map(ids.rap_of_workflow, running.ids)):
                self._state.release_rap(rap_id)

    async def _find_raps(self) -> WorkflowIds:
        backend = BackendRequest(backend=self._state.slug)
        return await on_controller(
            FIND_RAPS, backend, limit=LIMIT, summary="find the RAPs that run"
        )

    def _put(self, kind: ErrandKind, rap_id: str = "", workspace: str = "") -> None:
        self._errands.put(Errand(kind=kind, rap_id=rap_id, workspace=workspace))


def _workflow_of(job: Reservation) -> str:
    request = job.request
    return ids.job_workflow_id(request.workspace, request.action, request.job_id)
