"""The orders of the control queue: they never wait behind the host's jobs."""

import asyncio

import structlog
from temporalio import activity

from activities.contracts import DISCARD_JOB, TERMINATE_JOB
from rap.egress import Acknowledged
from rap.messages import DiscardOrder, TerminateOrder
from rap.models import JobDefinition
from worker_agent.attempt import Attempt, belongs
from worker_agent.egress_guard import RETRY_DELAY, AgentRestart
from worker_agent.host import Host
from worker_agent.jobs import attempt_of
from worker_agent.notes import key_of
from worker_agent.workspace.metadata import load
from worker_agent.workspace.storage import component

log = structlog.get_logger()


class Control:
    """Stop orders, for attempts that may be running, gone, or not here yet."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @activity.defn(name=TERMINATE_JOB.name)
    async def terminate_job(self, order: TerminateOrder) -> Acknowledged:
        """Kill the container of this attempt now (agent.md 11.1).

        The order is noted first, so that the attempt ends as cancelled, not as killed, whoever
        finds it: the running ``run_job``, one that is still to come, or one after a restart.
        """
        component("job id", order.job_id)
        structlog.contextvars.bind_contextvars(id=order.job_id, task=order.task_id)
        log.info("ordered to stop")
        self._host.notes.mark_stopped(key_of(order.job_id, order.task_id))
        job = self._host.jobs.find(order.job_id, order.task_id)
        if job is not None:
            job.stop.set()
        container = await self._host.engine.inspect(order.job_id)
        if container is not None and container.running and belongs(container, order.task_id):
            await self._host.engine.kill(container.id)
        return Acknowledged()

    @activity.defn(name=DISCARD_JOB.name)
    async def discard_job(self, order: DiscardOrder) -> Acknowledged:
        """Make sure that nothing of a stopped attempt is left but its record (agent.md 4.5).

        An attempt that has already ended keeps its record; a later attempt is left alone.
        """
        definition = order.definition
        component("job id", definition.id)
        structlog.contextvars.bind_contextvars(
            workspace=definition.workspace,
            action=definition.action,
            id=definition.id,
            task=definition.task_id,
        )
        log.info("ordered to discard")
        work = asyncio.create_task(self._discard(definition))
        shutdown = asyncio.create_task(activity.wait_for_worker_shutdown())
        try:
            await asyncio.wait({work, shutdown}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise AgentRestart(RETRY_DELAY)
            await work
        finally:
            work.cancel()
            shutdown.cancel()
        return Acknowledged()

    async def _discard(self, definition: JobDefinition) -> None:
        if await self._is_superseded(definition):
            return
        host, key = self._host, key_of(definition.id, definition.task_id)
        host.notes.mark_stopped(key)
        running = host.jobs.find(definition.id, definition.task_id)
        if running is not None:
            running.stop.set()
            await running.gone.wait()
        async with host.jobs.admit(definition, reported=False) as job:
            await Attempt(host, job).stop()
        host.notes.forget_stopped(key)
        host.notes.drop_token(key)

    async def _is_superseded(self, definition: JobDefinition) -> bool:
        """Whether a later attempt has been here: then this one left nothing that is not its."""
        host, ours = self._host, attempt_of(definition.task_id)
        owner = host.notes.owner(definition.id)
        record = await asyncio.to_thread(load, host.storage, definition.id)
        found = (owner and owner.task_id, record and record.task_id)
        return any(attempt_of(task_id) > ours for task_id in found if task_id)
