"""Sees to it that the workflow of every backend runs, with today's limits."""

import asyncio

import structlog
from temporalio.client import Client
from temporalio.service import RPCError

from rap import ids
from rap.contracts.workflows import BACKEND, CONFIGURE
from rap.errors import Unavailable
from rap.messages.backends import BackendLimits
from rap.records import Records
from rap.settings import ControllerSettings
from rap.temporal.client import is_running
from rap.temporal.messages import start_workflow
from workflows.backend.start import backend_options, start_after

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
                if not await is_running(client, ids.backend_workflow_id(slug)):
                    log.warning("The backend's workflow is gone; it is started again", backend=slug)
                    await start_backend(client, slug, settings.limits_of(slug), records)
            except (RPCError, Unavailable) as error:
                log.warning(f"A backend cannot be looked after now: {error}", backend=slug)


async def start_backend(client: Client, slug: str, limits: BackendLimits, records: Records) -> None:
    """Start the workflow of a backend unless it runs, and tell it its configured limits."""
    known = await asyncio.to_thread(records.backend_flags, [slug])
    await start_workflow(
        client,
        BACKEND,
        start_after(known.get(slug), slug=slug, limits=limits),
        backend_options(slug),
        first=(CONFIGURE, limits),
    )
