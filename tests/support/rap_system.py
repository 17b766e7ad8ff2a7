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
from typing import TypeVar
from uuid import uuid4

from temporalio import activity
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities import contracts
from activities.controller.check_schedules import CheckSchedules
from activities.controller.project import ProjectActivities
from activities.controller.records import RecordsActivities
from activities.controller.workflow_states import WorkflowStates
from activities.controller.workspaces import WorkspaceActivities
from rap import ids
from rap.egress import (
    Acknowledged,
    AgentReport,
    Ending,
    JobOutcome,
    JobProgress,
    Metrics,
)
from rap.messages import (
    BackendLimits,
    BackendStart,
    CancelAnswer,
    CancelRequest,
    CreateAnswer,
    DiscardOrder,
    KnownJob,
    SettleAnswer,
    SettleRequest,
    TerminateOrder,
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
    ResolveAnswer,
    ResolveRequest,
    Weights,
)
from rap.records import Records
from rap.records.migrations import upgrade
from rap.records.tables import StoredJob
from rap.rows import BackendRow, Intent
from rap.status import StatusCode
from worker_controller.worker import WORKFLOWS

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


class StubProjects:
    """Stands in for git: a repository URL is the name of a project.

    Where ``real`` is set, it answers for all other URLs, as in production.
    """

    def __init__(self) -> None:
        self.projects: dict[str, tuple[ProjectAction, ...]] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.at_a_gate = asyncio.Event()
        self.broken: set[str] = set()
        self.real: ProjectActivities | None = None
        self.pins_images = False
        self.images: dict[str, ImageAnswer] = {}
        self.weights: dict[str, Weights] = {}

    @activity.defn(name=contracts.LOAD_PROJECT.name)
    async def load_project(self, request: CreateRequest) -> ProjectAnswer:
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
            project=Project(actions=actions, pins_images=self.pins_images, weights=weights)
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
    ``outcomes`` whole outcomes; an action in ``held`` runs until it is released or stopped.
    """

    backend: str
    name: str = "h1"
    exits: dict[str, int] = field(default_factory=dict)
    outcomes: dict[str, list[JobOutcome]] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)
    started: list[JobDefinition] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
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
        if stop.is_set():
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
        return Acknowledged()

    @activity.defn(name=contracts.DISCARD_JOB.name)
    async def discard_job(self, order: DiscardOrder) -> Acknowledged:
        self.discarded.append(order.definition.task_id)
        self._stops.setdefault(order.definition.task_id, asyncio.Event()).set()
        return Acknowledged()

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
        self, workers: float = 10, db_workers: float = 10, **other: float
    ) -> None:
        await self.client.start_workflow(
            "BackendWorkflow",
            BackendStart(
                slug=self.slug,
                limits=BackendLimits(max_workers=workers, max_db_workers=db_workers),
                **other,
            ),
            id=ids.backend_workflow_id(self.slug),
            task_queue=ids.CONTROLLER_QUEUE,
        )

    async def tell_backend(self, signal: str, message: object) -> None:
        handle = self.client.get_workflow_handle(ids.backend_workflow_id(self.slug))
        await handle.signal(signal, message)

    async def backend(self) -> BackendRow:
        handle = self.client.get_workflow_handle(ids.backend_workflow_id(self.slug))
        return await handle.query("state", result_type=BackendRow)

    async def backend_when(self, condition: Callable[[BackendRow], bool]) -> BackendRow:
        """Wait until the backend's own account of itself fits; messages to it take their time."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition(row := await self.backend()):
                await asyncio.sleep(0.05)
        return row

    async def report(
        self, host: StubHost, room: int = 100, jobs: tuple[JobProgress, ...] = ()
    ) -> None:
        report = AgentReport(backend=self.slug, host=host.name, at=0.0, room=room, jobs=jobs)
        await self.tell_backend("report", report)

    @asynccontextmanager
    async def host(self, **script: object) -> AsyncIterator[StubHost]:
        """An agent that polls and has reported."""
        stub = StubHost(backend=self.slug, **script)  # type: ignore[arg-type]
        async with stub.polling(self.client):
            await self.report(stub)
            yield stub

    def request(self, url: str, *actions: str, **other: object) -> CreateRequest:
        given = {"rap_id": uuid4().hex[:16], "workspace": "ws", "commit": COMMIT, **other}
        return CreateRequest(
            backend=self.slug,
            repo_url=url,
            branch="main",
            requested_actions=actions,
            **given,
        )

    async def create(self, request: CreateRequest) -> CreateAnswer:
        return await self._ask(request.workspace, "create_rap", request, CreateAnswer)

    async def settle(self, workspace: str, request: SettleRequest) -> SettleAnswer:
        return await self._ask(workspace, "settle_rap", request, SettleAnswer)

    async def cancel(self, request: CreateRequest, *actions: str, at: float = 1.0) -> CancelAnswer:
        handle = self.client.get_workflow_handle(
            ids.workspace_workflow_id(self.slug, request.workspace)
        )
        return await handle.execute_update(
            "cancel_jobs",
            CancelRequest(rap_id=request.rap_id, actions=actions, at=at),
            result_type=CancelAnswer,
        )

    async def _ask(
        self, workspace: str, update: str, argument: object, kind: type[Answer]
    ) -> Answer:
        start = WithStartWorkflowOperation(
            "WorkspaceWorkflow",
            WorkspaceStart(backend=self.slug, workspace=workspace),
            id=ids.workspace_workflow_id(self.slug, workspace),
            task_queue=ids.CONTROLLER_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        )
        return await self.client.execute_update_with_start_workflow(
            update, argument, result_type=kind, start_workflow_operation=start
        )

    async def current_jobs(self, workspace: str) -> dict[str, KnownJob]:
        handle = self.client.get_workflow_handle(ids.workspace_workflow_id(self.slug, workspace))
        return await handle.query("current_jobs", result_type=dict[str, KnownJob])

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
        """Wait until the RAP's workflow is over."""
        async with asyncio.timeout(PATIENCE_S):
            await self.client.get_workflow_handle(ids.rap_workflow_id(request.rap_id)).result()

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
            projects.load_project,
            projects.resolve_reusable_actions,
            projects.resolve_image,
            WorkflowStates(client).find_closed,
            WorkflowStates(client).find_raps,
            WorkspaceActivities(records).load_workspace,
            projects.load_weights,
            CheckSchedules(client).switch_checks,
            rows.record_jobs,
            rows.record_backend,
            rows.settle_intent,
        ],
    )
    async with worker:
        yield records
    records.close()
