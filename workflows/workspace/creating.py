"""How a workspace creates a RAP: read its project, claim its id, plan its jobs, start it."""

from collections.abc import Awaitable, Callable

from temporalio import workflow

from rap.contracts.activities import CLAIM_RAP, RECORD_JOBS
from rap.messages.workspaces import CreateAnswer, CreateOutcome, GivenUp, KnownRap
from rap.models import CreateRequest, JobSpec, Project, Refusal
from rap.rows import Intent, IntentState, JobChanges
from workflows.calls import on_records
from workflows.rap.start import is_too_large, rap_start, start_rap, too_many
from workflows.rows import rap_rows
from workflows.workspace.jobs import WorkspaceJobs
from workflows.workspace.questions import plan_request, read_project


class RapCreation:
    """Creates RAPs, and knows which one is just being started.

    Its owner sees to it that they are created one after another. What the workspace knows is handed
    in, and a new RAP is added to it; ``show`` tells readers, and ``forget_closed_raps`` ends what
    was terminated, up to some moment.
    """

    def __init__(
        self,
        backend: str,
        workspace: str,
        *,
        forget_closed_raps: Callable[[float], Awaitable[None]],
        show: Callable[[], None],
    ) -> None:
        self._backend, self._workspace = backend, workspace
        self._forget_closed_raps, self._show = forget_closed_raps, show
        self._being_started: str | None = None

    async def create(
        self,
        request: CreateRequest,
        known: WorkspaceJobs,
        given_up: GivenUp | None,
        *,
        until: float,
    ) -> CreateAnswer:
        """Create a RAP, or say why not; a request that was ``given_up`` creates nothing any more.

        Raises:
            ActivityError: what has to be known for it was not to be had in that time.
        """
        same_id = known.rap(request.rap_id)
        if same_id is not None:
            same = (same_id.repo_url, same_id.commit) == (request.repo_url, request.commit)
            outcome = CreateOutcome.NO_CHANGE if same else CreateOutcome.INCONSISTENT
            return CreateAnswer(outcome=outcome, count=same_id.count)
        if given_up is not None and 0 < request.number <= given_up.number:
            return _refused("This request was given up before it arrived. Please send a new one.")

        loaded = await read_project(request, until=until)
        if loaded.project is None:
            return _refused_by(loaded.refusal)
        if not await self._claim(request):
            return CreateAnswer(outcome=CreateOutcome.INCONSISTENT)
        # A RAP that was terminated must not keep its actions busy for ever.
        await self._forget_closed_raps(until)
        plan, jobs = await plan_request(loaded.project, request, known, until=until)
        if plan.nothing_to_do:
            return CreateAnswer(outcome=CreateOutcome.NOTHING_TO_DO, details=plan.nothing_to_do)
        if plan.refusal is not None:
            return _refused_by(plan.refusal)
        return await self.start(request, loaded.project, jobs, known)

    async def _claim(self, request: CreateRequest) -> bool:
        """Have the id of a RAP belong to this workspace; false if it belongs to another one.

        The ids of its jobs follow from it, and Temporal knows it only together with the workspace.
        """
        intent = Intent(
            **request.model_dump(include={"rap_id", "backend", "workspace", "repo_url", "commit"})
        )
        standing = await on_records(CLAIM_RAP, intent)
        owner = (standing.backend, standing.workspace)
        return standing.state is IntentState.REFUSED or owner == (self._backend, self._workspace)

    async def start(
        self,
        request: CreateRequest,
        project: Project,
        jobs: tuple[JobSpec, ...],
        known: WorkspaceJobs,
    ) -> CreateAnswer:
        """Start a RAP with its planned jobs; if that fails, nothing of it stays known."""
        start = rap_start(request, project, jobs, known.states_awaited_by(jobs))
        if is_too_large(start):
            return _refused(too_many(len(jobs)))
        # Known before it is started: what ends meanwhile is kept for it, and what it says of itself
        # before its start is confirmed is understood.
        known.add(
            KnownRap(
                rap_id=request.rap_id,
                repo_url=request.repo_url,
                commit=request.commit,
                count=len(jobs),
                created_at=workflow.time(),
            ),
            start.jobs,
        )
        self._being_started = request.rap_id
        started = False
        try:
            started = await start_rap(start, request)
            if not started:
                # The id belongs to a RAP of another workspace.
                return CreateAnswer(outcome=CreateOutcome.INCONSISTENT)
            # From here on the RAP exists: no answer but CREATED would be true.
            self._show()
            await on_records(RECORD_JOBS, JobChanges(created=rap_rows(request.rap_id, start.jobs)))
            return CreateAnswer(outcome=CreateOutcome.CREATED, count=len(jobs))
        finally:
            self._being_started = None
            if not started:
                known.remove(request.rap_id)

    async def until_started(self, rap_id: str) -> None:
        """Wait for a RAP that is about to be started, and for its records."""
        if self._being_started == rap_id:
            await workflow.wait_condition(lambda: self._being_started != rap_id)


def _refused(text: str) -> CreateAnswer:
    return CreateAnswer(outcome=CreateOutcome.REFUSED, details=text)


def _refused_by(refusal: Refusal | None) -> CreateAnswer:
    return _refused(refusal.message if refusal is not None else "Unknown error")
