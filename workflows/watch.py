"""What nobody tells a backend, and how it notices: it looks round every half minute.

A RAP that was terminated frees its slots, and its workspace hears of it. A workspace that was
terminated is started again. A slot whose job runs no more is asked about. Waiting jobs are weighed
again when the weights of their backend have changed.
"""

from collections.abc import Callable, Iterable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.contracts import FIND_CLOSED, FIND_RAPS, LOAD_WEIGHTS
from rap import ids
from rap.messages import Announce, RapLost, Reweigh, WorkflowIds
from rap.models import BackendRequest
from workflows.backend_state import BackendState
from workflows.calls import on_controller, start_workspace_again, tell

LIMIT = timedelta(seconds=30)
"""For each question: what is not answered by then is asked again on the next round."""

ANNOUNCEMENTS_WITHIN = timedelta(seconds=30)


class Watch:
    """The eyes of one backend.

    Args:
        state: what the backend knows.
        every: how often to look round.
        touch: is called when something may have changed.
    """

    def __init__(self, state: BackendState, *, every: timedelta, touch: Callable[[], None]) -> None:
        self._state, self._every, self._touch = state, every, touch
        self._unheard: set[str] = set()

    async def run(self) -> None:
        """Look round for as long as the backend lives."""
        while True:
            await workflow.sleep(self._every, summary="look round")
            # An agent that fell silent shows by the mere passing of time.
            self._touch()
            raps = self._state.rap_ids()
            if not raps:
                continue
            try:
                if workflow.patched("weights") and self._state.waiting():
                    await self._look_up_weights()
                await self._look_for_vanished(raps)
            except ActivityError:
                # Temporal or the controller is busy; there is a next time.
                continue

    async def recover(self) -> None:
        """Learn from the running RAPs what a backend that was lost knew of their jobs.

        Returns when all have answered, or after half a minute.
        """
        backend = BackendRequest(backend=self._state.slug)
        summary = "find the RAPs that run"
        while True:
            try:
                found = await on_controller(FIND_RAPS, backend, limit=LIMIT, summary=summary)
                break
            except ActivityError:
                await workflow.sleep(self._every, summary="ask for the RAPs again")
        self._unheard = set(found.ids)
        for workflow_id in found.ids:
            if not await tell(workflow_id, "announce", Announce(), attempts=1):
                self._unheard.discard(workflow_id)
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
        self._unheard.discard(ids.rap_workflow_id(rap_id))

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
                message = Reweigh(weights=weights.of_workspace(workspace))
                await tell(ids.rap_workflow_id(rap_id), "reweigh", message, attempts=1)

    async def _look_for_vanished(self, raps: dict[str, set[str]]) -> None:
        now = workflow.now().timestamp()
        workspaces = {
            ids.workspace_workflow_id(self._state.slug, name): name
            for name in sorted({name for names in raps.values() for name in names})
        }
        doubtful = {
            ids.job_workflow_id(job.request.job_id): job.rap_id
            for job in self._state.doubtful_slots(now)
        }
        asked = (*(ids.rap_workflow_id(rap_id) for rap_id in raps), *workspaces, *doubtful)
        answer = await on_controller(
            FIND_CLOSED, WorkflowIds(ids=asked), limit=LIMIT, summary="look for what has vanished"
        )
        closed = set(answer.ids)
        for workflow_id, name in workspaces.items():
            if workflow_id in closed:
                await start_workspace_again(self._state.slug, name)
        lost = [rap_id for rap_id in raps if ids.rap_workflow_id(rap_id) in closed]
        for rap_id in lost:
            await self._lose(rap_id, raps[rap_id])
        asked_about = {rap_id for job, rap_id in doubtful.items() if job in closed}
        for rap_id in sorted(asked_about - set(lost)):
            await tell(ids.rap_workflow_id(rap_id), "announce", Announce(), attempts=1)

    async def _lose(self, rap_id: str, workspaces: Iterable[str]) -> None:
        self._state.release_rap(rap_id)
        self._touch()
        for workspace in sorted(workspaces):
            workspace_id = ids.workspace_workflow_id(self._state.slug, workspace)
            await tell(workspace_id, "rap_lost", RapLost(rap_id=rap_id), attempts=2)
