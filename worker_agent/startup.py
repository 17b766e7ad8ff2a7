"""What an agent does before it takes work: wait for what it needs, and settle the past."""

import asyncio
import shutil
import time

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from rap.errors import JobFault
from rap.ids import attempt_name
from worker_agent.database.checks import DatabaseChecks
from worker_agent.egress_guard import AgentRestart
from worker_agent.engine.facts import EngineState
from worker_agent.host import Host
from worker_agent.workspace.cleanup import remove_volume
from worker_agent.workspace.metadata import load

log = structlog.get_logger()

HAND_BACK_DELAY = 0.05


async def hand_back_tokens(host: Host, client: Client) -> None:
    """Give back the activities of an agent that was killed, so that they come again at once."""
    for key, token in host.attempts.left_over_tokens().items():
        handle = client.get_async_activity_handle(task_token=token)
        try:
            await handle.fail(AgentRestart(HAND_BACK_DELAY))
            log.info("handed back what the agent was doing when it died", task=key)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                # Kept: Temporal notices the missing heartbeats, only later.
                log.warning(f"could not hand back an activity: {error}", task=key)
                continue
        host.attempts.drop_token(key)


async def remove_orphans(host: Host) -> None:
    """Remove the containers and volumes of attempts that are on record as finished.

    Only those whose record lies in this host's storage: others may share the engine.
    """
    for job_id in await host.engine.containers.job_ids():
        try:
            record = await asyncio.to_thread(load, host.storage, job_id)
            container = await host.engine.containers.inspect(job_id)
            if record is None or container is None or container.running:
                continue
            if container.task_id and container.task_id == record.task_id:
                log.info("removing the container of a finished job", id=job_id)
                await host.engine.containers.remove(container.id)
                await asyncio.to_thread(
                    remove_volume, host.storage, attempt_name(job_id, container.task_id)
                )
        except JobFault as fault:
            log.warning(f"left alone: {fault}", id=job_id)


async def settle_the_past(host: Host, client: Client) -> None:
    """Everything about the agent's predecessor."""
    host.attempts.forget_old_stopped(time.time())
    await remove_orphans(host)
    try:
        await DatabaseChecks(host).remove_left_overs()
    except JobFault as fault:
        log.warning(f"containers of database checks may be left over: {fault}")
    await hand_back_tokens(host, client)


def describe(host: Host, engine: EngineState) -> str:
    """One line about the host for its log."""
    free = shutil.disk_usage(host.settings.high_privacy).free / 2**30
    return (
        f"agent of backend {host.settings.backend} on host {host.settings.agent_host}: "
        f"Docker {engine.version}, {free:.0f} GiB free, "
        f"room for {host.settings.agent_max_jobs} jobs"
    )
