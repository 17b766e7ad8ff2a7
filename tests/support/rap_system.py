"""The orchestration with everything real but the agent: workflows, controller worker, read model.

A :class:`StubHost` takes the place of an agent: it polls the same queues with the same contracts,
and ends each job as its test scripted it.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.controller.check_schedules import CheckSchedules
from activities.controller.for_clients import for_clients
from activities.controller.lost_raps import LostRaps
from activities.controller.project import ProjectActivities
from activities.controller.records import RecordsActivities
from activities.controller.workflow_states import WorkflowStates
from rap import ids
from rap.contracts import activities as contracts
from rap.contracts.kinds import Signal, Update
from rap.contracts.workflows import (
    BACKEND,
    BACKEND_STATE,
    CANCEL_JOBS,
    CREATE_RAP,
    CURRENT_JOBS,
    REPORT,
    SETTLE_RAP,
    WORKSPACE,
)
from rap.egress import (
    Acknowledged,
    AgentReport,
    Ending,
    JobOutcome,
    JobProgress,
    Metrics,
)
from rap.errors import Unavailable
from rap.messages.backends import BackendLimits, BackendStart
from rap.messages.jobs import DiscardOrder, TerminateOrder
from rap.messages.workspaces import (
    CancelAnswer,
    CancelRequest,
    CreateAnswer,
    KnownJob,
    RapEnd,
    SettleAnswer,
    SettleRequest,
    WorkspaceStart,
)
from rap.models import (
    BackendRequest,
    CreateRequest,
    ImageAnswer,
    ImageRequest,
    JobDefinition,
    PrivacyLevel,
    Project,
    ProjectAction,
    ProjectAnswer,
    Refusal,
    RefusalKind,
    Weights,
)
from rap.planned_jobs import ResolveAnswer, ResolveRequest
from rap.records import Records
from rap.records.migrations import upgrade
from rap.rows import BackendRow, Intent
from rap.status import StatusCode
from rap.stored_jobs import StoredJob
from rap.temporal.ends import end_in
from rap.temporal.messages import (
    execute_update,
    execute_update_with_start,
    query,
    send_signal,
    start_workflow,
)
from tests.support.factories import create_request
from worker_controller.worker import WORKFLOWS, be_patient
from workflows.backend.start import backend_options
from workflows.workspace.start import workspace_options

Message = TypeVar("Message")
Answer = TypeVar("Answer")

PATIENCE_S = 60
COMMIT = "0" * 40


def action(name: str, *needs: str, db: bool = False) -> ProjectAction:
    return ProjectAction(
        name=name,
        run_command=f"python:v2 {name}.py",
        needs=needs,
        outputs={PrivacyLevel.HIGHLY_SENSITIVE: {"out": f"{name}.csv"}},
        requires_db=db,
    )


def rap_workflow(request: CreateRequest) -> str:
    """The id of a RAP's workflow."""
    return ids.rap_workflow_id(request.workspace, request.rap_id)


def job_workflow(request: CreateRequest, name: str) -> str:
    """The id of the workflow of an action's job in a RAP."""
    return ids.job_workflow_id(request.workspace, name, ids.job_id(request.rap_id, name))


class StubProjects:
    """Stands in for git: a repository URL is the name of a project.

    Where ``real`` is set, it answers for all other URLs, as in production.
    """

    def __init__(self) -> None:
        self.projects: dict[str, tuple[ProjectAction, ...]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.at_a_gate = asyncio.Event()
        self.broken: set[str] = set()
        self.passing: dict[str, int] = {}
        """How often reading a project still fails for a reason that passes."""
        self.dying: set[str] = set()
        """Projects whose next reading ends like that of a controller that is killed: in silence."""
        self.reads: list[str] = []
        self.real: ProjectActivities | None = None
        self.pins_images = False
        self.images: dict[str, ImageAnswer] = {}
        self.weights: dict[str, Weights] = {}
        self.unfinished: dict[str, int] = {}

    @activity.defn(name=contracts.LOAD_KNOWN_PROJECT.name)
    async def load_known_project(self, request: CreateRequest) -> ProjectAnswer:
        if request.repo_url in self.projects or self.real is None:
            return ProjectAnswer()
        return await self.real.load_known_project(request)

    @activity.defn(name=contracts.LOAD_PROJECT.name)
    async def load_project(self, request: CreateRequest) -> ProjectAnswer:
        self.reads.append(request.repo_url)
        if request.repo_url in self.dying:
            self.dying.remove(request.repo_url)
            await asyncio.Event().wait()
        return await self._load_project(request)

    @for_clients
    async def _load_project(self, request: CreateRequest) -> ProjectAnswer:
        if request.repo_url in self.passing and self.passing[request.repo_url] > 0:
            self.passing[request.repo_url] -= 1
            raise Unavailable("The remote is away.")
        if request.repo_url in self.gates:
            self.at_a_gate.set()
            await self.gates[request.repo_url].wait()
        if request.repo_url in self.broken:
            raise ApplicationError("", type="Unforeseen", non_retryable=True)
        if request.repo_url not in self.projects and self.real is not None:
            return await self.real.load_project(request)
        if request.repo_url not in self.projects:
            refusal = Refusal(
                kind=RefusalKind.GIT, message=f"Could not read from {request.repo_url}"
            )
            return ProjectAnswer(refusal=refusal)
        actions = self.projects[request.repo_url]
        weights = self.weights.get(request.backend, Weights()).of_workspace(request.workspace)
        return ProjectAnswer(
            project=Project(
                actions=actions,
                pins_images=self.pins_images,
                weights=weights,
                unfinished=self.unfinished.get(request.backend, 0),
            )
        )

    @activity.defn(name=contracts.LOAD_WEIGHTS.name)
    async def load_weights(self, request: BackendRequest) -> Weights:
        return self.weights.get(request.backend, Weights())

    @activity.defn(name=contracts.RESOLVE_IMAGE.name)
    async def resolve_image(self, request: ImageRequest) -> ImageAnswer:
        if request.image not in self.images:
            raise ApplicationError("", type="Unavailable")
        return self.images[request.image]

    @activity.defn(name=contracts.RESOLVE_REUSABLE_ACTIONS.name)
    async def resolve_reusable_actions(self, request: ResolveRequest) -> ResolveAnswer:
        return ResolveAnswer(jobs=request.jobs)


@dataclass
class StubHost:
    """An agent host without containers.

    By default a job ends at once with exit code 0. ``exits`` gives other codes by action,
    ``outcomes`` whole outcomes; an action in ``held`` runs until it is released or stopped, one
    in ``finishing`` has just come to its end when it is stopped.
    """

    backend: str
    name: str = "h1"
    exits: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, list[JobOutcome]] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    finishing: set[str] = field(default_factory=set)
    started: list[JobDefinition] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    answers_orders_with: Any = field(default_factory=Acknowledged)
    _stops: dict[str, asyncio.Event] = field(default_factory=dict)
    _releases: dict[str, asyncio.Event] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def runs_of(self, action_name: str) -> list[str]:
        return [one.task_id for one in self.started if one.action == action_name]

    def release(self, action_name: str) -> None:
        self.held.discard(action_name)
        self._releases.setdefault(action_name, asyncio.Event()).set()

    async def has_started(self, action_name: str, times: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.runs_of(action_name)) < times:
                self._news.clear()
                await self._news.wait()

    @activity.defn(name=contracts.RUN_JOB.name)
    async def run_job(self, definition: JobDefinition) -> JobOutcome:
        task = definition.task_id
        self.started.append(definition)
        self._news.set()
        stop = self._stops.setdefault(task, asyncio.Event())
        if definition.action in self.held:
            release = self._releases.setdefault(definition.action, asyncio.Event())
            waits = {asyncio.ensure_future(stop.wait()), asyncio.ensure_future(release.wait())}
            try:
                while not any(one.done() for one in waits):
                    activity.heartbeat()
                    await asyncio.wait(waits, timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                details = activity.cancellation_details()
                if details is None or not details.cancel_requested:
                    raise
                stop.set()
            finally:
                for one in waits:
                    one.cancel()
        if stop.is_set() and definition.action not in self.finishing:
            return JobOutcome(task_id=task, ending=Ending.CANCELLED)
        if self.outcomes.get(definition.action):
            return self.outcomes[definition.action].pop(0)
        return JobOutcome(
            task_id=task,
            ending=Ending.COMPLETED,
            exit_code=self.exits.get(definition.action, 0),
            metrics=Metrics(cpu_mean=1.5),
        )

    @activity.defn(name=contracts.TERMINATE_JOB.name)
    async def terminate_job(self, order: TerminateOrder) -> Acknowledged:
        self.terminated.append(order.task_id)
        self._stops.setdefault(order.task_id, asyncio.Event()).set()
        return self.answers_orders_with

    @activity.defn(name=contracts.DISCARD_JOB.name)
    async def discard_job(self, order: DiscardOrder) -> Acknowledged:
        self.discarded.append(order.definition.task_id)
        self._stops.setdefault(order.definition.task_id, asyncio.Event()).set()
        return self.answers_orders_with

    @asynccontextmanager
    async def polling(self, client: Client) -> AsyncIterator["StubHost"]:
        jobs = Worker(
            client,
            task_queue=ids.host_queue(self.backend, self.name),
            activities=[self.run_job],
            max_concurrent_activities=200,
        )
        control = Worker(
            client,
            task_queue=ids.control_queue(self.backend, self.name),
            activities=[self.terminate_job, self.discard_job],
        )
        async with jobs, control:
            yield self


class RapSystem:
    """One backend of the orchestration, alone on a shared server."""

    def __init__(self, client: Client, records: Records, projects: StubProjects, slug: str) -> None:
        self.client, self.records, self.projects, self.slug = client, records, projects, slug
        self._numbers = itertools.count()

    def project(self, *actions: ProjectAction) -> str:
        """Make a project; returns the URL of its repository."""
        url = f"https://example.org/{uuid4().hex}"
        self.projects.projects[url] = actions
        return url

    async def start_backend(
        self, workers: float = 10, db_workers: float = 10, **other: Any
    ) -> None:
        limits = BackendLimits(max_workers=workers, max_db_workers=db_workers)
        start = BackendStart(slug=self.slug, limits=limits, **other)
        await start_workflow(self.client, BACKEND, start, backend_options(self.slug))

    async def tell_backend(self, signal: Signal[Message], message: Message) -> None:
        await send_signal(self.client, signal, ids.backend_workflow_id(self.slug), message)

    async def backend(self) -> BackendRow:
        return await query(self.client, BACKEND_STATE, ids.backend_workflow_id(self.slug))

    async def backend_when(self, condition: Callable[[BackendRow], bool]) -> BackendRow:
        """Wait until the backend's own account of itself fits; messages to it take their time."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(row := await self.backend()):
                await asyncio.sleep(0.05)
        return row

    async def report(
        self, host: StubHost, room: int = 100, jobs: tuple[JobProgress, ...] = (), **more: Any
    ) -> None:
        about = {"backend": self.slug, "host": host.name, "at": 0.0}
        report = AgentReport(**about, room=room, jobs=jobs, **more)
        await self.tell_backend(REPORT, report)

    @asynccontextmanager
    async def host(self, **script: object) -> AsyncIterator[StubHost]:
        """An agent that polls and has reported."""
        stub = StubHost(backend=self.slug, **script)  # type: ignore[arg-type]
        async with stub.polling(self.client):
            await self.report(stub)
            yield stub

    def request(self, url: str, *actions: str, **other: object) -> CreateRequest:
        own = {"rap_id": uuid4().hex[:16], "workspace": "ws", "backend": self.slug}
        return create_request(*actions, repo_url=url, **(own | other))

    async def create(self, request: CreateRequest) -> CreateAnswer:
        return await self._update(CREATE_RAP, request, request.workspace)

    async def settle(self, workspace: str, request: SettleRequest) -> SettleAnswer:
        return await self._update(SETTLE_RAP, request, workspace)

    async def cancel(self, request: CreateRequest, *actions: str) -> CancelAnswer:
        workspace = ids.workspace_workflow_id(self.slug, request.workspace)
        order = CancelRequest(rap_id=request.rap_id, actions=actions)
        return await execute_update(self.client, CANCEL_JOBS, workspace, order)

    async def _update(
        self, update: Update[Message, Answer], argument: Message, workspace: str
    ) -> Answer:
        return await execute_update_with_start(
            self.client,
            update,
            argument,
            (WORKSPACE, WorkspaceStart(backend=self.slug, workspace=workspace)),
            workspace_options(self.slug, workspace),
        )

    async def current_jobs(self, workspace: str) -> dict[str, KnownJob]:
        workflow_id = ids.workspace_workflow_id(self.slug, workspace)
        return await query(self.client, CURRENT_JOBS, workflow_id)

    def jobs(self, request: CreateRequest) -> dict[str, StoredJob]:
        """The jobs of a RAP in the read model, by action."""
        return {job.action: job for job in self.records.rap(request.rap_id)}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the read model to say something; what it says comes from elsewhere."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.02)

    async def reaches(self, request: CreateRequest, **codes: StatusCode) -> dict[str, StoredJob]:
        """Wait until jobs have these codes, by action; returns all jobs."""

        def reached() -> bool:
            jobs = self.jobs(request)
            return all(
                name in jobs and jobs[name].status_code is code for name, code in codes.items()
            )

        try:
            await self.until(reached)
        except TimeoutError:
            now = {name: job.status_code for name, job in self.jobs(request).items()}
            raise AssertionError(f"expected {codes}, got {now}") from None
        return self.jobs(request)

    async def has_ended(self, request: CreateRequest) -> None:
        """Wait until the RAP's workflow is over; it may have failed."""
        handle = self.client.get_workflow_handle(rap_workflow(request))
        async with asyncio.timeout(PATIENCE_S):
            try:
                await handle.result()
            except WorkflowFailureError as error:
                if end_in(error, RapEnd) is None:
                    raise

    def intent(self, request: CreateRequest) -> Intent | None:
        return self.records.intents([request.rap_id]).get(request.rap_id)


@asynccontextmanager
async def controller(
    client: Client, folder: Path, projects: StubProjects
) -> AsyncIterator[Records]:
    """A controller worker as in production, but sandboxed, and with stub projects."""
    url = f"sqlite:///{folder / 'records.sqlite'}"
    upgrade(url)
    records = Records.connect(url)
    rows = RecordsActivities(records)
    worker = Worker(
        client,
        task_queue=ids.CONTROLLER_QUEUE,
        workflows=WORKFLOWS,
        activities=[
            projects.load_known_project,
            projects.load_project,
            projects.resolve_reusable_actions,
            projects.resolve_image,
            WorkflowStates(client).find_closed,
            WorkflowStates(client).find_raps,
            LostRaps(client, records).find_ends,
            WorkflowStates(client).latest_attempt,
            WorkflowStates(client).await_attempts,
            rows.load_workspace,
            projects.load_weights,
            CheckSchedules(client).switch_checks,
            rows.record_jobs,
            rows.record_backend,
            rows.end_rap,
            rows.settle_intent,
            rows.claim_rap,
        ],
    )
    be_patient(worker)
    async with worker:
        yield records
    records.close()
