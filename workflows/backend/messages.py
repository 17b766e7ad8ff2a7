"""What a backend tells others: slots to RAPs, stops to jobs, its row to the read model.

Slots leave before anything else, since work waits for them.
"""

import asyncio
from collections.abc import Iterable

from temporalio import workflow

from rap import ids
from rap.contracts.activities import RECORD_BACKEND
from rap.contracts.workflows import GRANTED, STOP
from rap.messages.backends import Errand, ErrandKind
from rap.messages.jobs import StopOrder
from rap.messages.slots import Reservation, SlotGrant, SlotGrants
from rap.rows import JobChange
from workflows.backend.errands import ErrandList
from workflows.backend.state import BackendState
from workflows.backend.texts import backend_details
from workflows.calls import on_records, send_signal
from workflows.outbox import Outbox
from workflows.run_length import SENT, TOLD, WRITTEN, RunLength

WRITE_PAUSE_S = 1.0
"""At most one write of the backend's row in this time."""

LATEST_S = 5.0
"""Under load slots are always on their way; then a write waits for them no longer than this."""


class BackendMessages:
    """Decides anew whenever the state has changed, and makes known what came of it."""

    def __init__(
        self,
        state: BackendState,
        errands: ErrandList,
        length: RunLength,
        *,
        unrecorded: Iterable[JobChange] = (),
        written_at: float,
    ) -> None:
        self._state, self._errands, self._length = state, errands, length
        self.written_at = written_at
        """When the row was written last."""
        self._undecided = self._unwritten = True
        self._unrecorded: dict[str, JobChange] = {}
        self.record(unrecorded)
        self._writing = self._winds_down = False
        self._grants = Outbox(self._send_grants)
        self._stops = Outbox(self._send_stops)

    def deliver(self) -> list[asyncio.Task[None]]:
        """Start delivering; the tasks end only with an error."""
        runs = (self._grants.run(), self._stops.run(), self._grant_slots(), self._write_rows())
        return [asyncio.create_task(run) for run in runs]

    def wind_down(self) -> None:
        """Decide and write nothing more: under load there is always something to be done.

        What is on its way is still delivered; the rest is state, and left to the next run.
        """
        self._winds_down = True

    @property
    def are_delivered(self) -> bool:
        """Whether nothing is on its way."""
        return self._grants.is_empty and self._stops.is_empty and not self._writing

    def touch(self) -> None:
        """Something may have changed that decisions or readers depend on."""
        self._undecided = self._unwritten = True
        self._length.add(TOLD)

    def record(self, changes: Iterable[JobChange]) -> None:
        """Make the latest stages of jobs known to readers, with the next row."""
        self._unrecorded |= {change.job_id: change for change in changes}

    @property
    def unrecorded(self) -> tuple[JobChange, ...]:
        """The stages that are to be made known."""
        return tuple(self._unrecorded.values())

    def stop(self, jobs: Iterable[Reservation], order: StopOrder) -> None:
        """Give running jobs an order to stop."""
        for job in jobs:
            own = order.model_copy(update={"attempt": job.request.attempt})
            self._stops.put((_workflow_of(job), own))

    def grant_again(self, rap_id: str, workspace: str, grant: SlotGrant) -> None:
        """Tell a RAP of a slot that its job has already."""
        self._grants.put((ids.rap_workflow_id(workspace, rap_id), grant))

    async def _grant_slots(self) -> None:
        while True:
            await workflow.wait_condition(lambda: self._undecided and not self._winds_down)
            self._undecided = False
            self._grants.put(*self._state.grant(workflow.time()))

    async def _send_grants(self, grants: list[tuple[str, SlotGrant]]) -> None:
        by_rap: dict[str, list[SlotGrant]] = {}
        for rap, grant in grants:
            by_rap.setdefault(rap, []).append(grant)
        self._length.add(SENT * len(by_rap))
        await asyncio.gather(
            *(self._send_grants_to(rap, tuple(some)) for rap, some in by_rap.items())
        )

    async def _send_grants_to(self, rap: str, grants: tuple[SlotGrant, ...]) -> None:
        message = SlotGrants(grants=grants)
        if not await send_signal(GRANTED, rap, message, attempts=1):
            self._lose(grants)

    def _lose(self, grants: tuple[SlotGrant, ...]) -> None:
        """Let go what no RAP takes, and have its workspace look after the RAP.

        A RAP that ends by itself gives its slots back first: who has one still was terminated.
        """
        held = [job for one in grants if (job := self._state.running.get(one.job_id))]
        for rap_id, workspace in dict.fromkeys((one.rap_id, one.request.workspace) for one in held):
            self._state.release_rap(rap_id)
            self._errands.put(Errand(kind=ErrandKind.RAP_LOST, rap_id=rap_id, workspace=workspace))
        self.touch()

    async def _send_stops(self, orders: list[tuple[str, StopOrder]]) -> None:
        self._length.add(SENT * len(orders))
        await asyncio.gather(
            *(send_signal(STOP, workflow_id, order, attempts=5) for workflow_id, order in orders)
        )

    def _may_write(self) -> bool:
        # A write takes its time within the workflow task, and nothing else leaves before that is
        # over.
        decided = not self._undecided and self._grants.is_empty
        late = workflow.time() - self.written_at >= LATEST_S
        return self._unwritten and (decided or late) and not self._winds_down

    async def _write_rows(self) -> None:
        while True:
            await workflow.wait_condition(self._may_write)
            self._unwritten, self.written_at = False, workflow.time()
            changes, self._unrecorded = tuple(self._unrecorded.values()), {}
            update = self._state.update(workflow.time(), changes)
            workflow.set_current_details(
                backend_details(
                    update.row,
                    configured=self._state.configured,
                    namespace=workflow.info().namespace,
                )
            )
            self._length.add(WRITTEN)
            self._writing = True
            await on_records(RECORD_BACKEND, update)
            self._writing = False
            await workflow.sleep(WRITE_PAUSE_S, summary="before next write")


def _workflow_of(job: Reservation) -> str:
    request = job.request
    return ids.job_workflow_id(request.workspace, request.action, request.job_id)
