"""One workspace of one backend: it creates RAPs one at a time and knows the current jobs.

The entity lives for as long as it knows a job; its state goes along when it continues as new.
"""

import asyncio
import contextlib
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.contracts import (
        FIND_CLOSED,
        LOAD_PROJECT,
        LOAD_WORKSPACE,
        RECORD_JOBS,
        RESOLVE_REUSABLE_ACTIONS,
        SETTLE_INTENT,
    )
    from rap import ids
    from rap.messages import (
        CancelAnswer,
        CancelOrder,
        CancelRequest,
        CreateAnswer,
        CreateOutcome,
        JobsFinished,
        KnownJob,
        KnownRap,
        RapLost,
        SettleAnswer,
        SettleRequest,
        WorkflowIds,
        WorkspaceStart,
    )
    from rap.models import CreateRequest, JobSpec, Project, Refusal, ResolveRequest
    from rap.rows import IntentSettlement, IntentState, JobChanges
    from rap.status import State
    from workflows.calls import on_controller, on_records, tell
    from workflows.describe import workspace_details
    from workflows.outbox import Outbox, settle
    from workflows.planning import Plan, check_codelists, plan_jobs, uses_reusable_action
    from workflows.rap_start import is_too_large, rap_start, start_rap
    from workflows.rows import killed, rap_rows
    from workflows.workspace_jobs import WorkspaceJobs

ANSWER_WITHIN = timedelta(seconds=22)
"""A create that takes longer is given up: the client would not hear the answer any more."""

FIRST_QUESTION_WITHIN = timedelta(minutes=1)
REMEMBER_REFUSALS_S = 24 * 3600
CHECK_RAPS_OLDER_THAN_S = 60


@workflow.defn(name="WorkspaceWorkflow")
class WorkspaceWorkflow:
    """Serialises the creation of RAPs in a workspace and tells RAPs about each other's jobs."""

    @workflow.init
    def __init__(self, start: WorkspaceStart) -> None:
        self._backend, self._workspace = start.backend, start.workspace
        self._jobs = WorkspaceJobs(start)
        self._refused = dict(start.refused)
        self._creating = asyncio.Lock()
        self._was_asked = False
        self._announcements = Outbox(self._announce)
        # One that begins with nothing may have been lost, and know more than it remembers.
        self._is_recovered = not self._jobs.is_empty or bool(self._refused)
        self._early: list[JobsFinished] = []

    @workflow.run
    async def run(self, start: WorkspaceStart) -> None:
        """Serve until there is nothing to remember."""
        if start.recovering:
            self._was_asked = True
            async with self._creating:
                await self._recover()
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

    @workflow.update
    async def create_rap(self, request: CreateRequest) -> CreateAnswer:
        """Create a RAP, or say why not; exactly once, however often it is asked for.

        Whatever is answered except ``CREATED`` has created nothing. An error that nobody foresaw
        fails the update, before anything was created.
        """
        self._was_asked = True
        async with self._creating:
            await self._recover()
            answer = await self._create(request)
            if answer.outcome in (CreateOutcome.NOTHING_TO_DO, CreateOutcome.REFUSED):
                await on_records(
                    SETTLE_INTENT,
                    IntentSettlement(
                        rap_id=request.rap_id,
                        state=IntentState.REFUSED,
                        asked_at=request.asked_at or None,
                    ),
                )
            return answer

    async def _create(self, request: CreateRequest) -> CreateAnswer:
        known = self._jobs.rap(request.rap_id)
        if known is not None:
            same = (known.repo_url, known.commit) == (request.repo_url, request.commit)
            outcome = CreateOutcome.NO_CHANGE if same else CreateOutcome.INCONSISTENT
            return CreateAnswer(outcome=outcome, count=known.count)
        if request.asked_at and request.asked_at <= self._refused.get(request.rap_id, 0.0):
            return _refused("This request was given up before it arrived. Please send a new one.")

        loaded = await on_controller(
            LOAD_PROJECT, request, limit=ANSWER_WITHIN, summary="read the project"
        )
        if loaded.project is None:
            return _refused_by(loaded.refusal)
        await self._forget_closed_raps()
        plan, jobs = await self._plan(loaded.project, request)
        if plan.nothing_to_do:
            return CreateAnswer(outcome=CreateOutcome.NOTHING_TO_DO, details=plan.nothing_to_do)
        if plan.refusal is not None:
            return _refused_by(plan.refusal)
        if request.asked_at and _now() > request.asked_at + ANSWER_WITHIN.total_seconds():
            return _refused("The request took too long, and nothing was created. Please try again.")
        return await self._start_rap(request, loaded.project, jobs)

    async def _plan(
        self, project: Project, request: CreateRequest
    ) -> tuple[Plan, tuple[JobSpec, ...]]:
        """Decide on the jobs; again if the workspace changed while a repository was read."""
        while True:
            revision = self._jobs.revision
            plan = plan_jobs(project.actions, self._jobs.current(), request, created_at=int(_now()))
            jobs = plan.jobs
            if any(uses_reusable_action(job) for job in jobs):
                resolved = await on_controller(
                    RESOLVE_REUSABLE_ACTIONS,
                    ResolveRequest(jobs=jobs),
                    limit=ANSWER_WITHIN,
                    summary="resolve reusable actions",
                )
                jobs = resolved.jobs
                if resolved.refusal is not None:
                    plan = plan.model_copy(update={"refusal": resolved.refusal})
            if plan.refusal is None and jobs:
                stale = check_codelists(jobs, request)
                plan = plan.model_copy(update={"refusal": stale})
            if revision == self._jobs.revision:
                return plan, jobs

    async def _start_rap(
        self, request: CreateRequest, project: Project, jobs: tuple[JobSpec, ...]
    ) -> CreateAnswer:
        start = rap_start(request, project, jobs, self._jobs.states_awaited_by(jobs))
        if is_too_large(start):
            return _refused(
                f"The request comes to {len(jobs)} jobs, more than can be run at once. Please "
                "request fewer actions."
            )
        if not await start_rap(start, request):
            # The id belongs to a RAP of another workspace.
            return CreateAnswer(outcome=CreateOutcome.INCONSISTENT)
        # From here on the RAP exists: no answer but CREATED would be true.
        self._jobs.add(
            KnownRap(
                rap_id=request.rap_id,
                repo_url=request.repo_url,
                commit=request.commit,
                count=len(jobs),
                created_at=_now(),
            ),
            start.jobs,
        )
        self._show()
        await on_records(RECORD_JOBS, JobChanges(created=rap_rows(request.rap_id, start.jobs)))
        return CreateAnswer(outcome=CreateOutcome.CREATED, count=len(jobs))

    @workflow.update
    async def settle_rap(self, request: SettleRequest) -> SettleAnswer:
        """Say what became of a create whose answer was lost; if nothing did, nothing ever will."""
        self._was_asked = True
        async with self._creating:
            await self._recover()
            if self._jobs.rap(request.rap_id) is not None:
                state = IntentState.ACCEPTED
            else:
                state = IntentState.REFUSED
                self._refused[request.rap_id] = request.at
            await on_records(
                SETTLE_INTENT,
                IntentSettlement(rap_id=request.rap_id, state=state, asked_at=request.at),
            )
            return SettleAnswer(state=state)

    # --- cancel ---

    @workflow.update
    async def cancel_jobs(self, request: CancelRequest) -> CancelAnswer:
        """Cancel some jobs of a RAP; they stop being their actions' current jobs at once."""
        self._was_asked = True
        if not self._is_recovered:
            async with self._creating:
                await self._recover()
        job_ids = tuple(ids.job_id(request.rap_id, action) for action in request.actions)
        self._jobs.cancel(job_ids)
        rap = self._jobs.rap(request.rap_id)
        if rap is None or rap.done:
            return CancelAnswer(cancelled=0)
        told = await tell(
            ids.rap_workflow_id(request.rap_id),
            "cancel",
            CancelOrder(job_ids=job_ids, at=request.at, by=request.by),
            attempts=2,
        )
        return CancelAnswer(cancelled=len(job_ids) if told else 0)

    # --- what happens to jobs ---

    @workflow.signal
    def jobs_finished(self, message: JobsFinished) -> None:
        """Take note of finished jobs, and tell the RAPs that wait for them."""
        self._was_asked = True
        if not self._is_recovered:
            # What is being looked up may be older than this.
            self._early.append(message)
        for waiting in self._jobs.finish(message):
            self._announcements.put((waiting, message))
        self._show()

    @workflow.signal
    def rap_lost(self, message: RapLost) -> None:
        """Take note of a RAP whose workflow was terminated: its unfinished jobs have failed."""
        lost = self._jobs.active_jobs_of(message.rap_id) or list(message.job_ids)
        self.jobs_finished(
            JobsFinished(
                rap_id=message.rap_id, states=dict.fromkeys(lost, State.FAILED), rap_done=True
            )
        )
        self._announcements.put((None, tuple(lost)))

    @workflow.query
    def current_jobs(self) -> dict[str, KnownJob]:
        """Show the current job of every action."""
        return dict(self._jobs.current())

    async def _announce(
        self, items: list[tuple[str, JobsFinished] | tuple[None, tuple[str, ...]]]
    ) -> None:
        for rap_id, message in items:
            if isinstance(message, JobsFinished) and rap_id is not None:
                told = await tell(
                    ids.rap_workflow_id(rap_id), "dependencies_finished", message, attempts=3
                )
                rap = self._jobs.rap(rap_id)
                if not told and rap is not None and not rap.done and workflow.patched("not-told"):
                    # Terminated while it waited: its backend knows nothing of it.
                    self.rap_lost(RapLost(rap_id=rap_id))
            elif isinstance(message, tuple):
                await on_records(RECORD_JOBS, killed(message, at=_now()))

    async def _forget_closed_raps(self) -> None:
        """Before planning: a RAP that was terminated must not keep its actions busy for ever."""
        old = [
            rap.rap_id
            for rap in self._jobs.active_raps()
            if rap.created_at < _now() - CHECK_RAPS_OLDER_THAN_S
        ]
        if not old:
            return
        closed = await on_controller(
            FIND_CLOSED,
            WorkflowIds(ids=tuple(ids.rap_workflow_id(rap_id) for rap_id in old)),
            limit=ANSWER_WITHIN,
            summary="look after older RAPs",
        )
        for rap_id in old:
            rap = self._jobs.rap(rap_id)
            if ids.rap_workflow_id(rap_id) in closed.ids and rap is not None and not rap.done:
                self.rap_lost(RapLost(rap_id=rap_id))

    # --- the life of the entity ---

    async def _recover(self) -> None:
        """Look up what a workspace that was lost knew, and tell the RAPs what they missed."""
        if self._is_recovered:
            return
        if workflow.patched("recover-workspace"):
            found = await on_controller(
                LOAD_WORKSPACE,
                WorkspaceStart(backend=self._backend, workspace=self._workspace),
                limit=ANSWER_WITHIN,
                summary="look up what is known of the workspace",
            )
            self._jobs = WorkspaceJobs(found)
            for rap_id, states in found.news.items():
                self._announcements.put((rap_id, JobsFinished(rap_id=rap_id, states=states)))
        self._is_recovered = True
        for message in self._early:
            self.jobs_finished(message)
        self._early.clear()

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
        return idle and (nothing_to_remember or workflow.info().is_continue_as_new_suggested())

    def _carried_over(self) -> WorkspaceStart:
        forget = _now() - REMEMBER_REFUSALS_S
        return self._jobs.carried_over().model_copy(
            update={
                "refused": {rap: until for rap, until in self._refused.items() if until > forget}
            }
        )


def _refused(text: str) -> CreateAnswer:
    return CreateAnswer(outcome=CreateOutcome.REFUSED, details=text)


def _refused_by(refusal: Refusal | None) -> CreateAnswer:
    return _refused(refusal.message if refusal is not None else "Unknown error")


def _now() -> float:
    return workflow.now().timestamp()
