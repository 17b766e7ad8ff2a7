"""What a RAP tells others: its rows to the read model, its slots to the backend, its ends to the
workspace. Everything leaves in batches, and what lets work go on leaves first.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from temporalio import workflow

from rap import ids
from rap.contracts.activities import RECORD_JOBS
from rap.contracts.workflows import JOBS_FINISHED, SLOTS
from rap.messages.carried_over import JobState, RapState
from rap.messages.slots import SlotDelta, SlotHold, SlotRequest
from rap.messages.workspaces import JobsFinished, RapStart
from rap.rows import JobChange, JobChanges
from rap.status import State
from workflows.calls import on_records, send_signal
from workflows.outbox import MOST_AT_ONCE, Outbox
from workflows.rows import rap_rows
from workflows.workspace.start import start_workspace_again

HELD_BACK_S = 1.0
"""For so long at most, what is to be written waits for what lets work go on."""


class RapMessages:
    """The three outboxes of a RAP.

    A job that ``is_over`` needs no slot any more; the RAP ``is_done`` when all jobs are over.
    """

    def __init__(
        self,
        start: RapStart,
        *,
        is_over: Callable[[str], bool],
        is_done: Callable[[], bool],
        describe: Callable[[], str],
    ) -> None:
        self._start, self._describe = start, describe
        self._is_over, self._is_done = is_over, is_done
        self._is_recorded = False
        self._requesting = 0
        self._starting = 0
        self._backend_is_away = False
        self._slots_are_on_their_way = False
        self._is_leaving = False
        self._records = Outbox(self._record)
        self._slots = Outbox(self._send_slots)
        self._notices = Outbox(self._send_notices)
        if start.state is not None:
            self._is_recorded = start.state.is_recorded
            self._records.put(*start.state.unrecorded)
            self._notices.put(*start.state.finished.items())

    def deliver(self) -> list[asyncio.Task[None]]:
        """Start delivering; the tasks end only with an error."""
        boxes = (self._records, self._slots, self._notices)
        return [asyncio.create_task(box.run()) for box in boxes]

    @property
    def are_delivered(self) -> bool:
        """Whether nothing is on its way: what is when a workflow ends is dropped."""
        return self._records.is_empty and self._slots.is_empty and self._notices.is_empty

    def record(self, change: JobChange) -> None:
        """Make a change of a job known to readers, and an end then to the workspace."""
        self._records.put(change)

    def request_slot(self, request: SlotRequest) -> None:
        """Ask the backend for a slot."""
        self._requesting += 1
        self._slots.put(SlotDelta(rap_id=self._start.rap_id, requests=(request,)))

    def release_slot(self, job_id: str) -> None:
        """Give a slot back, or ask for it no more."""
        self._slots.put(SlotDelta(rap_id=self._start.rap_id, releases=(job_id,)))

    def announce(self, *, holds: tuple[SlotHold, ...], requests: tuple[SlotRequest, ...]) -> None:
        """Tell the backend all that this RAP has to do with its slots."""
        self._requesting += len(requests)
        self._slots.put(
            SlotDelta(rap_id=self._start.rap_id, holds=holds, requests=requests, complete=True)
        )

    @property
    def is_abreast(self) -> bool:
        """Whether no more is to be written than one delivery takes."""
        return len(self._records.undelivered) <= MOST_AT_ONCE

    def leave(self) -> None:
        """Begin nothing any more that the next run could not tell from what it is told itself.

        The backend gets what is about slots in its order, or it would keep what is over. So the
        next run sends nothing of it before what this one has sent has arrived.
        """
        self._is_leaving = True

    @property
    def may_leave(self) -> bool:
        """Whether nothing is under way that was begun before :meth:`leave`."""
        return self._starting == 0 and not self._slots_are_on_their_way

    def carried_over(self, jobs: tuple[JobState, ...]) -> RapState:
        """How the RAP stands, with all that may not have been delivered, for the next run."""
        return RapState(
            jobs=jobs,
            is_recorded=self._is_recorded,
            unrecorded=tuple(self._records.undelivered),
            finished=dict(self._notices.undelivered),
            owes_slots=not self._slots.is_empty,
        )

    @property
    def being_started(self) -> int:
        """How many child workflows are being started."""
        return self._starting

    @contextmanager
    def starting_work(self) -> Iterator[None]:
        """Hold back what may wait while a child workflow is being started."""
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    async def _record(self, changes: list[JobChange]) -> None:
        # A write takes its time within the workflow task, and nothing else leaves before that is
        # over. In a large RAP something always starts, and readers are told all the same.
        since = workflow.time()
        await workflow.wait_condition(
            lambda: not self._is_urgent or workflow.time() - since >= HELD_BACK_S
        )
        workflow.set_current_details(self._describe())
        # The first write carries the rows of all jobs, so that they appear together whoever of
        # this workflow and its workspace writes first.
        created = None if self._is_recorded else rap_rows(self._start.rap_id, self._start.jobs)
        await on_records(RECORD_JOBS, JobChanges(created=created, changes=tuple(changes)))
        self._is_recorded = True
        # Not before: a workspace that loses what it was told finds it in the records.
        self._notices.put(
            *((change.job_id, change.code.state) for change in changes if change.code.is_final)
        )

    @property
    def _is_urgent(self) -> bool:
        return self._starting > 0 or (self._requesting > 0 and not self._backend_is_away)

    async def _send_slots(self, deltas: list[SlotDelta]) -> None:
        released = {job for delta in deltas for job in delta.releases}
        # The backend takes the releases of a message before its requests, so that a job may leave
        # and come back in one.
        await send_signal(
            SLOTS,
            ids.backend_workflow_id(self._start.backend),
            SlotDelta(
                rap_id=self._start.rap_id,
                requests=tuple(
                    request
                    for delta in deltas
                    for request in delta.requests
                    if not self._is_over(request.job_id)
                ),
                releases=tuple(sorted(released)),
                holds=tuple(
                    hold
                    for delta in deltas
                    for hold in delta.holds
                    if hold.request.job_id not in released
                ),
                complete=any(delta.complete for delta in deltas),
            ),
            before_each=self._until_slots_may_leave,
            on_failure=self._note_backend_away,
        )
        self._backend_is_away = self._slots_are_on_their_way = False
        self._requesting -= sum(len(delta.requests) for delta in deltas)

    async def _until_slots_may_leave(self) -> None:
        if self._is_leaving:
            await workflow.wait_condition(lambda: not self._is_leaving)
        self._slots_are_on_their_way = True

    def _note_backend_away(self) -> None:
        self._backend_is_away, self._slots_are_on_their_way = True, False

    async def _send_notices(self, finished: list[tuple[str, State]]) -> None:
        backend, workspace = self._start.backend, self._start.workspace
        workspace_id = ids.workspace_workflow_id(backend, workspace)
        message = JobsFinished(
            rap_id=self._start.rap_id,
            states=dict(finished),
            rap_done=self._is_done() and self._records.is_empty and not self._notices.has_more,
        )
        if not await send_signal(JOBS_FINISHED, workspace_id, message, attempts=1):
            await start_workspace_again(backend, workspace)
            await send_signal(JOBS_FINISHED, workspace_id, message, attempts=10)
