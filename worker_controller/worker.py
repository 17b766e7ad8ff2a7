"""The controller worker: workflows, the controller's activities, and what must exist first."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import ceil
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

from activities.controller.check_schedules import CheckSchedules
from activities.controller.lost_raps import LostRaps
from activities.controller.project import ProjectActivities
from activities.controller.records import RecordsActivities
from activities.controller.registry import ImageActivities, Registry
from activities.controller.reusable_actions import ReusableActionsActivities
from activities.controller.weight_files import WeightFiles
from activities.controller.workflow_states import WorkflowStates
from rap import ids
from rap.git import WHAT_IS_HERE, WITHIN_A_CREATE, git_cache
from rap.records import Records
from rap.settings import ControllerSettings
from worker_controller.backends import configure_backends, keep_backends
from worker_controller.schedules import ensure_schedules
from worker_controller.search_attributes import check_search_attributes
from workflows.backend.start import STEP_LIMIT
from workflows.backend.workflow import BackendWorkflow
from workflows.database_checks import DatabaseDataCheckWorkflow, DatabaseStatusWorkflow
from workflows.job.clean_up import CleanUpWorkflow
from workflows.job.workflow import JobWorkflow
from workflows.maintenance_window import MaintenanceWindowWorkflow
from workflows.rap.workflow import RapWorkflow
from workflows.workspace.workflow import WorkspaceWorkflow

log = structlog.get_logger()

IDENTITY = "rap-controller"
WORKFLOWS: Sequence[type] = (
    WorkspaceWorkflow,
    RapWorkflow,
    JobWorkflow,
    BackendWorkflow,
    DatabaseStatusWorkflow,
    DatabaseDataCheckWorkflow,
    MaintenanceWindowWorkflow,
    CleanUpWorkflow,
)
GRACE = timedelta(seconds=5)


def controller_activities(
    settings: ControllerSettings, client: Client, records: Records
) -> list[Callable[..., Any]]:
    """All activities that run beside the workflows."""
    git = git_cache(settings, limits=WITHIN_A_CREATE)
    weights = WeightFiles(settings.workdir)
    warm_git = git_cache(settings, limits=WHAT_IS_HERE, fetches=False)
    project = ProjectActivities(settings, git, weights, records, warm_git=warm_git)
    reusable = ReusableActionsActivities(git)
    images = ImageActivities(Registry(settings.registry_api) if settings.registry_api else None)
    rows = RecordsActivities(records)
    states = WorkflowStates(client)
    return [
        project.load_known_project,
        project.load_project,
        reusable.resolve_reusable_actions,
        images.resolve_image,
        weights.load_weights,
        states.find_closed,
        states.find_raps,
        LostRaps(client, records).find_ends,
        states.latest_attempt,
        states.await_attempts,
        rows.load_workspace,
        CheckSchedules(client).switch_checks,
        rows.record_jobs,
        rows.record_backend,
        rows.end_rap,
        rows.settle_intent,
        rows.claim_rap,
    ]


def make_worker(
    client: Client, activities: Sequence[Callable[..., Any]], *, version: str
) -> Worker:
    """A worker for the controller's queue.

    The workflow sandbox is off, since it doubles the work per job; the tests run with it, and
    replay tests guard determinism.
    """
    # Left out, the SDK would make one up from all code that is loaded, which takes it a second.
    build = WorkerDeploymentVersion(IDENTITY, version)
    worker = Worker(
        client,
        task_queue=ids.CONTROLLER_QUEUE,
        deployment_config=WorkerDeploymentConfig(version=build, use_worker_versioning=False),
        workflows=WORKFLOWS,
        activities=activities,
        workflow_runner=UnsandboxedWorkflowRunner(),
        graceful_shutdown_timeout=GRACE,
        max_cached_workflows=2000,
    )
    be_patient(worker)
    return worker


def be_patient(worker: Worker) -> None:
    """Let a step of a workflow take as long as Temporal lets it.

    The SDK fails a step that takes two seconds by the clock, for it may never end. On a busy
    machine it takes longer to take a long queue over, at each try again. There is no setting.
    """
    guarded = worker._workflow_worker  # noqa: SLF001
    assert guarded is not None  # noqa: S101 - there are workflows
    guarded._deadlock_timeout_seconds = ceil(STEP_LIMIT.total_seconds())  # noqa: SLF001


async def serve(
    settings: ControllerSettings, client: Client, records: Records, stop: asyncio.Event
) -> None:
    """Work until told to stop, then finish what is at hand."""
    await check_search_attributes(client)
    activities = controller_activities(settings, client, records)
    worker = make_worker(client, activities, version=settings.version)
    async with worker:
        # Before the backends: each pauses those of its checks that are not to run now.
        await ensure_schedules(client, settings)
        await configure_backends(client, settings, records)
        watching = asyncio.create_task(keep_backends(client, settings, records))
        log.info("controller.service started", backends=",".join(settings.backends))
        await stop.wait()
        log.info("controller.service stopping")
        watching.cancel()
    log.info("controller.service stopped")
