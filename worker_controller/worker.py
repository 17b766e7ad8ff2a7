"""The controller worker: workflows, the controller's activities, and what must exist first."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkerDeploymentConfig

from activities.controller.check_schedules import CheckSchedules
from activities.controller.images import ImageActivities
from activities.controller.project import ProjectActivities
from activities.controller.records import RecordsActivities
from activities.controller.reusable_actions import ReusableActionsActivities
from activities.controller.weights import WeightActivities
from activities.controller.workflow_states import WorkflowStates
from activities.controller.workspaces import WorkspaceActivities
from rap import ids
from rap.git import TimeLimits, git_cache
from rap.records.store import Records
from rap.settings import ControllerSettings
from worker_controller.backends import configure_backends, keep_backends
from worker_controller.registry import Registry
from worker_controller.schedules import ensure_schedules
from worker_controller.search_attributes import check_search_attributes
from worker_controller.weights import WeightFiles
from workflows.backend import BackendWorkflow
from workflows.clean_up import CleanUpWorkflow
from workflows.database import DatabaseDataCheckWorkflow, DatabaseStatusWorkflow
from workflows.job import JobWorkflow
from workflows.rap import RapWorkflow
from workflows.window import MaintenanceWindowWorkflow
from workflows.workspace import WorkspaceWorkflow

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
    # Within the time that a client waits for its answer.
    git = git_cache(settings, limits=TimeLimits(resolve=8, fetch=18, local=18))
    weights = WeightFiles(settings.workdir)
    project = ProjectActivities(settings, git, weights)
    reusable = ReusableActionsActivities(git)
    images = ImageActivities(Registry(settings.registry_api) if settings.registry_api else None)
    rows = RecordsActivities(records)
    states = WorkflowStates(client)
    return [
        project.load_project,
        reusable.resolve_reusable_actions,
        images.resolve_image,
        WeightActivities(weights).load_weights,
        states.find_closed,
        states.find_raps,
        WorkspaceActivities(records).load_workspace,
        CheckSchedules(client).switch_checks,
        rows.record_jobs,
        rows.record_backend,
        rows.settle_intent,
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
    return Worker(
        client,
        task_queue=ids.CONTROLLER_QUEUE,
        deployment_config=WorkerDeploymentConfig(version=build, use_worker_versioning=False),
        workflows=WORKFLOWS,
        activities=activities,
        workflow_runner=UnsandboxedWorkflowRunner(),
        graceful_shutdown_timeout=GRACE,
        max_cached_workflows=2000,
    )


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
