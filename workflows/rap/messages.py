"""What a RAP tells others: its rows to the read model, its slots to the backend, its ends to the
workspace. Everything leaves in batches, and what lets work go on leaves first.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from temporalio import workflow

from activities.contracts import RECORD_JOBS
from rap import ids
from rap.messages import JobsFinished, RapStart, SlotDelta, SlotHold, SlotRequest
from rap.rows import JobChange, JobChanges
from rap.status import State
from workflows.calls import on_records, start_workspace_again, tell
from workflows.outbox import Outbox
from workflows.rows import rap_rows


class RapMessages:
    """The three outboxes of a RAP.

    Args:
        start: the RAP.
        is_over: whether a job has reached its end, so that it needs no slot any more.
        is_done: whether all jobs have.
        describe: the RAP as the Web UI shows it.
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
        # The first write carries the rows of all jobs, so that they appear together whoever of
        # this workflow and its workspace writes first.
        self._unrecorded = rap_rows(start.rap_id, start.jobs)
        self._was_recorded = False
        self._requesting = 0
        self._starting = 0
        self._backend_is_away = False
        self._records = Outbox(self._record)
        self._slots = Outbox(self._send_slots)
        self._notices = Outbox(self._send_notices)

    def deliver(self) -> list[asyncio.Task[None]]:
        """Start delivering; the tasks end only with an error."""
        return [
            asyncio.create_task(box.run()) for box in (self._records, self._slots, self._notices)
        ]

    @property
    def are_delivered(self) -> bool:
        """Whether nothing is on its way: what is when a workflow ends is dropped."""
        return self._records.is_empty and self._slots.is_empty and self._notices.is_empty

    def record(self, change: JobChange) -> None:
        """Make a change of a job known to readers."""
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

    def finish(self, job_id: str, state: State) -> None:
        """Tell the workspace how a job ended."""
        self._notices.put((job_id, state))

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
        # over.
        await workflow.wait_condition(lambda: not self._is_starting_work)
        workflow.set_current_details(self._describe())
        created, self._was_recorded = None if self._was_recorded else self._unrecorded, True
        await on_records(RECORD_JOBS, JobChanges(created=created, changes=tuple(changes)))

    @property
    def _is_starting_work(self) -> bool:
        return self._starting > 0 or (self._requesting > 0 and not self._backend_is_away)

    async def _send_slots(self, deltas: list[SlotDelta]) -> None:
        released = {job for delta in deltas for job in delta.releases}
        # The backend takes the releases of a message before its requests, so that a job may leave
        # and come back in one.
        await tell(
            ids.backend_workflow_id(self._start.backend),
            "slots",
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
            on_failure=self._note_backend_away,
        )
        self._backend_is_away = False
        self._requesting -= sum(len(delta.requests) for delta in deltas)

    def _note_backend_away(self) -> None:
        self._backend_is_away = True

    async def _send_notices(self, finished: list[tuple[str, State]]) -> None:
        backend, workspace = self._start.backend, self._start.workspace
        workspace_id = ids.workspace_workflow_id(backend, workspace)
        message = JobsFinished(
            rap_id=self._start.rap_id, states=dict(finished), rap_done=self._is_done()
        )
        if not await tell(workspace_id, "jobs_finished", message, attempts=1):
            await start_workspace_again(backend, workspace)
            await tell(workspace_id, "jobs_finished", message, attempts=10)
