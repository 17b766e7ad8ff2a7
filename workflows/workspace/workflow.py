"""One workspace of one backend: it creates RAPs one at a time and knows the current jobs.

The entity lives for as long as it knows a job; its state goes along when it continues as new.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from rap import deadlines, ids
    from rap.contracts import workflows as contracts
    from rap.contracts.activities import LOAD_WORKSPACE, SETTLE_INTENT
    from rap.messages.workspaces import (
        CancelAnswer,
        CancelOrder,
        CancelRequest,
        CreateAnswer,
        CreateOutcome,
        GivenUp,
        JobsFinished,
        KnownJob,
        RapLost,
        SettleAnswer,
        SettleRequest,
        WorkspaceStart,
    )
    from rap.models import CreateRequest
    from rap.rows import IntentSettlement, IntentState
    from workflows.calls import for_client, on_records, passes, send_signal, why_not_now
    from workflows.outbox import Outbox, settle
    from workflows.run_length import CHANGED, CREATED, LOOKED, SENT, TOLD, RunLength
    from workflows.texts import workspace_details
    from workflows.workspace.closed_raps import closed_raps, end_closed_rap
    from workflows.workspace.creating import RapCreation
    from workflows.workspace.jobs import WorkspaceJobs


FIRST_QUESTION_WITHIN = timedelta(minutes=1)
REMEMBER_REFUSALS_S = 24 * 3600
TRY_AGAIN = timedelta(seconds=10)
_NOTHING_CREATED = (CreateOutcome.NOTHING_TO_DO, CreateOutcome.REFUSED, CreateOutcome.FAILED)
LONGEST_HISTORY = 4000
"""Events after which a workspace continues as new."""

WINDING_DOWN_S = 30.0
"""Who lost its RAP is being stopped, unless it has just come to its own end."""


@workflow.defn(name=contracts.WORKSPACE.name)
class WorkspaceWorkflow:
    """Serialises the creation of RAPs in a workspace and tells RAPs about each other's jobs."""

    @workflow.init
    def __init__(self, start: WorkspaceStart) -> None:
        self._backend, self._workspace = start.backend, start.workspace
        self._jobs = WorkspaceJobs(start)
        self._length = RunLength(LONGEST_HISTORY)
        self._refused = dict(start.refused)
        self._creating = asyncio.Lock()
        self._was_asked = False
        self._creation = RapCreation(
            start.backend,
            start.workspace,
            forget_closed_raps=self._forget_closed_raps,
            show=self._show,
        )
        self._announcements = Outbox(self._announce)
        # One that begins with nothing may have been lost, and know more than it remembers.
        self._is_recovered = not self._jobs.is_empty or bool(self._refused)
        self._early: list[JobsFinished] = []

    @workflow.run
    async def run(self, start: WorkspaceStart) -> None:
        """Serve until there is nothing to remember."""
        if start.recovering:
            self._was_asked = True
            await self._recover_in_the_end()
        with contextlib.suppress(TimeoutError):
            # Whoever started us has something to ask.
            await workflow.wait_condition(
                lambda: self._was_asked,
                timeout=FIRST_QUESTION_WITHIN,
                timeout_summary="await the first question",
            )
        deliveries = [asyncio.create_task(self._announcements.run())]
        await settle(self._may_leave, deliveries)
        if not self._jobs.is_empty or self._refused:
            workflow.continue_as_new(self._carried_over())

    # --- create ---

    @workflow.update(name=contracts.CREATE_RAP.name)
    async def create_rap(self, request: CreateRequest) -> CreateAnswer:
        """Create a RAP, or say why not; exactly once, however often it is asked for.

        Whatever is answered except ``CREATED`` has created nothing. The time for it is measured
        here, from now on: how long the request was on its way, and what other clocks say, plays
        no part.
        """
        self._was_asked = True
        self._length.add(CREATED)
        until = workflow.time() + min(request.budget, deadlines.WORKSPACE_S)
        try:
            async with self._alone(until):
                answer = await self._decide(request, until)
                if answer.outcome in _NOTHING_CREATED:
                    await _settle(request.rap_id, IntentState.REFUSED, request.number or None)
                return answer
        except TimeoutError:
            return CreateAnswer(
                outcome=CreateOutcome.NOT_NOW, details="The workspace is busy with other requests."
            )

    async def _decide(self, request: CreateRequest, until: float) -> CreateAnswer:
        try:
            await self._recover(until)
            given_up = self._refused.get(request.rap_id)
            return await self._creation.create(request, self._jobs, given_up, until=until)
        except ActivityError as error:
            if passes(error):
                return CreateAnswer(outcome=CreateOutcome.NOT_NOW, details=why_not_now(error))
            return CreateAnswer(outcome=CreateOutcome.FAILED)

    @workflow.update(name=contracts.SETTLE_RAP.name)
    async def settle_rap(self, request: SettleRequest) -> SettleAnswer:
        """Say what became of a create; if nothing did, nothing ever will."""
        self._was_asked = True
        self._length.add(CREATED)
        until = workflow.time() + deadlines.WORKSPACE_S
        try:
            async with self._alone(until):
                await self._recover(until)
                state = IntentState.ACCEPTED
                if self._jobs.rap(request.rap_id) is None:
                    state = IntentState.REFUSED
                    self._refused[request.rap_id] = GivenUp(
                        number=request.number, at=workflow.time()
                    )
                await _settle(request.rap_id, state, request.number)
                return SettleAnswer(state=state)
        except (TimeoutError, ActivityError):
            return SettleAnswer(state=IntentState.PENDING)

    @contextlib.asynccontextmanager
    async def _alone(self, until: float) -> AsyncIterator[None]:
        """Nothing else is created meanwhile.

        Raises:
            TimeoutError: something else was being created until then. So requests do not pile up,
                and Temporal goes on taking those that need not wait.
        """
        acquiring = asyncio.create_task(self._creating.acquire())
        # Not ``asyncio.wait_for``, whose steps are others in other versions of Python.
        await workflow.wait([acquiring], timeout=max(until - workflow.time(), 0.0))
        if not acquiring.done():
            acquiring.cancel()
            raise TimeoutError
        try:
            yield
        finally:
            self._creating.release()

    # --- cancel ---

    @workflow.update(name=contracts.CANCEL_JOBS.name)
    async def cancel_jobs(self, request: CancelRequest) -> CancelAnswer:
        """Cancel some jobs of a RAP; they stop being their actions' current jobs at once."""
        self._was_asked = True
        self._length.add(CHANGED + SENT)
        at = workflow.time()
        if not self._is_recovered:
            until = workflow.time() + deadlines.WORKSPACE_S
            async with self._alone(until):
                await self._recover(until)
        await self._creation.until_started(request.rap_id)
        job_ids = tuple(ids.job_id(request.rap_id, action) for action in request.actions)
        self._jobs.cancel(job_ids)
        if not self._jobs.is_active(request.rap_id):
            return CancelAnswer(cancelled=0)
        told = await send_signal(
            contracts.CANCEL,
            ids.rap_workflow_id(self._workspace, request.rap_id),
            CancelOrder(job_ids=job_ids, at=at, by=request.by),
            attempts=2,
        )
        return CancelAnswer(cancelled=len(job_ids) if told else 0)

    # --- what happens to jobs ---

    @workflow.signal(name=contracts.JOBS_FINISHED.name)
    def jobs_finished(self, message: JobsFinished) -> None:
        """Take note of finished jobs, and tell the RAPs that wait for them."""
        self._was_asked = True
        self._length.add(TOLD)
        if not self._is_recovered:
            # What is being looked up may be older than this; what waits for it is not known yet.
            self._early.append(message)
            self._announcements.put(None)
            return
        for waiting in self._jobs.finish(message):
            self._announcements.put((waiting, message))
        self._show()

    @workflow.signal(name=contracts.RAP_LOST.name)
    def rap_lost(self, message: RapLost) -> None:
        """Take note of a RAP whose workflow was terminated: its unfinished jobs end."""
        self._was_asked = True
        self._length.add(TOLD + LOOKED)
        self._announcements.put(message)

    @workflow.query(name=contracts.CURRENT_JOBS.name)
    def current_jobs(self) -> dict[str, KnownJob]:
        """Show the current job of every action."""
        return dict(self._jobs.current())

    async def _announce(self, items: list[tuple[str, JobsFinished] | RapLost | None]) -> None:
        await self._recover_in_the_end()
        for item in items:
            if isinstance(item, RapLost):
                await self._end_surely(item.rap_id)
            elif item is not None:
                await self._tell(*item)

    async def _tell(self, rap_id: str, message: JobsFinished) -> None:
        self._length.add(SENT)
        await self._creation.until_started(rap_id)
        rap = ids.rap_workflow_id(self._workspace, rap_id)
        while not await send_signal(contracts.DEPENDENCIES_FINISHED, rap, message, attempts=3):
            # Terminated while it waited: its backend knows nothing of it.
            if not self._jobs.is_active(rap_id) or await self._end_surely(rap_id):
                return

    async def _end(self, rap_id: str, *, wait_s: float, until: float) -> bool:
        """End what a RAP whose workflow is gone has left unfinished; false if it runs after all.

        Raises:
            ActivityError: nobody could tell until then.
        """
        await self._creation.until_started(rap_id)
        end = await end_closed_rap(self._workspace, rap_id, self._jobs, wait_s=wait_s, until=until)
        if end is None:
            return False
        self.jobs_finished(end)
        return True

    async def _end_surely(self, rap_id: str) -> bool:
        """The same as :meth:`_end`, again and again until an answer comes."""
        while True:
            until = workflow.time() + 2 * WINDING_DOWN_S
            try:
                return await self._end(rap_id, wait_s=WINDING_DOWN_S, until=until)
            except ActivityError:
                await workflow.sleep(TRY_AGAIN, summary="before its jobs are looked after again")

    async def _forget_closed_raps(self, until: float) -> None:
        """Before planning: a RAP that was terminated must not keep its actions busy for ever."""
        for rap_id in await closed_raps(self._workspace, self._jobs, until=until):
            if self._jobs.is_active(rap_id):
                # What is not answered now is asked again by the next create.
                with contextlib.suppress(ActivityError):
                    await self._end(rap_id, wait_s=0.0, until=until)

    # --- the life of the entity ---

    async def _recover(self, until: float) -> None:
        """Look up what a workspace that was lost knew, and tell the RAPs what they missed.

        Raises:
            ActivityError: the read model did not answer in that time.
        """
        if self._is_recovered:
            return
        found = await for_client(
            LOAD_WORKSPACE,
            WorkspaceStart(backend=self._backend, workspace=self._workspace),
            until=until,
            summary="look up what is known of the workspace",
        )
        self._jobs = WorkspaceJobs(found)
        for rap_id, states in found.news.items():
            self._announcements.put((rap_id, JobsFinished(rap_id=rap_id, states=states)))
        self._is_recovered = True
        for message in self._early:
            self.jobs_finished(message)
        self._early.clear()

    async def _recover_in_the_end(self) -> None:
        """The same, for what must not be lost: again and again until the answer comes."""
        while not self._is_recovered:
            until = workflow.time() + deadlines.WORKSPACE_S
            try:
                async with self._alone(until):
                    await self._recover(until)
            except (ActivityError, TimeoutError):
                await workflow.sleep(TRY_AGAIN, summary="before it is looked up again")

    def _show(self) -> None:
        workflow.set_current_details(
            workspace_details(
                self._backend,
                self._workspace,
                raps=self._jobs.active_raps(),
                jobs=self._jobs.current(),
                namespace=workflow.info().namespace,
            )
        )

    def _may_leave(self) -> bool:
        idle = workflow.all_handlers_finished() and self._announcements.is_empty
        nothing_to_remember = self._jobs.is_empty and not self._refused
        return idle and (nothing_to_remember or self._length.is_long)

    def _carried_over(self) -> WorkspaceStart:
        forget = workflow.time() - REMEMBER_REFUSALS_S
        return self._jobs.carried_over().model_copy(
            update={
                "refused": {rap: some for rap, some in self._refused.items() if some.at > forget}
            }
        )


async def _settle(rap_id: str, state: IntentState, number: int | None) -> None:
    settlement = IntentSettlement(rap_id=rap_id, state=state, number=number)
    await on_records(SETTLE_INTENT, settlement)
