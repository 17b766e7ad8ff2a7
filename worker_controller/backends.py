"""Sees to it that the workflow of every backend runs, with today's limits."""

import asyncio

import structlog
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from rap import ids
from rap.errors import Unavailable
from rap.messages import BackendLimits, BackendStart, LimitsOrder
from rap.records import Records
from rap.rows import BackendRow, MaintenanceType
from rap.settings import ControllerSettings
from rap.temporal import search_attributes
from workflows.backend import BackendWorkflow
from workflows.describe_backend import backend_texts

log = structlog.get_logger()

LOOK_EVERY_S = 20.0


async def configure_backends(
    client: Client, settings: ControllerSettings, records: Records
) -> None:
    """Tell every backend its configured limits, and start those that do not run."""
    for slug in settings.backends:
        await start_backend(client, slug, settings.limits_of(slug), records)


async def keep_backends(client: Client, settings: ControllerSettings, records: Records) -> None:
    """Start the workflow of a backend again when somebody has terminated it; runs for ever."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        for slug in settings.backends:
            try:
                if not await runs(client, ids.backend_workflow_id(slug)):
                    log.warning("The backend's workflow is gone; it is started again", backend=slug)
                    await start_backend(client, slug, settings.limits_of(slug), records)
            except (RPCError, Unavailable) as error:
                log.warning(f"A backend cannot be looked after now: {error}", backend=slug)


async def runs(client: Client, workflow_id: str) -> bool:
    """Whether a workflow runs now."""
    try:
        found = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise
    return found.status is WorkflowExecutionStatus.RUNNING


async def start_backend(client: Client, slug: str, limits: BackendLimits, records: Records) -> None:
    """Start the workflow of a backend unless it runs, and tell it its configured limits."""
    known = await asyncio.to_thread(records.backends, [slug])
    texts = backend_texts(slug)
    await client.start_workflow(
        BackendWorkflow.run,
        start_after(known.get(slug), slug=slug, limits=limits),
        id=ids.backend_workflow_id(slug),
        task_queue=ids.CONTROLLER_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal="configure",
        start_signal_args=[limits],
        search_attributes=search_attributes(backend=slug),
        static_summary=texts.summary,
        static_details=texts.details,
    )


def start_after(row: BackendRow | None, *, slug: str, limits: BackendLimits) -> BackendStart:
    """The start of a backend's workflow, with the switches that its last row shows.

    A backend that somebody paused must not wake up because its workflow was lost.
    """
    start = BackendStart(slug=slug, limits=limits, recovering=True)
    if row is None:
        return start
    ordered = LimitsOrder(max_workers=row.max_workers, max_db_workers=row.max_db_workers)
    return start.model_copy(
        update={
            "row": row.model_copy(update={"slots": (), "queue": ()}),
            "manual_maintenance": row.maintenance_type is MaintenanceType.MANUAL,
            "checks_disabled": row.checks_disabled,
            "ordered_limits": ordered if row.limits_ordered else None,
            "priorities": row.priorities,
            "windows": row.windows,
            "held_by_window": row.held_by_window,
        }
    )
