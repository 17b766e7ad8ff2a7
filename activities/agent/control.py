"""The orders of the control queue: they never wait behind the host's jobs."""

import asyncio

import structlog
from temporalio import activity

from activities.agent.shutdown import unless_shut_down
from rap.contracts.activities import DISCARD_JOB, TERMINATE_JOB
from rap.egress import Acknowledged
from rap.ids import attempt_of
from rap.messages.jobs import DiscardOrder, TerminateOrder
from rap.models import JobDefinition
from worker_agent.attempt import Attempt, belongs
from worker_agent.host import Host
from worker_agent.running_jobs import Job, bind_log_to
from worker_agent.state.attempts import key_of
from worker_agent.workspace.metadata import load
from worker_agent.workspace.storage import component

log = structlog.get_logger()


class Control:
    """Stop orders, for attempts that may be running, gone, or not here yet."""

    def __init__(self, host: Host) -> None:
        self._host = host

    @activity.defn(name=TERMINATE_JOB.name)
    async def terminate_job(self, order: TerminateOrder) -> Acknowledged:
        """Kill the container of this attempt now (docs/spec/agent.md 11.1).

        The order is noted first, so that the attempt ends as cancelled, not as killed, whoever
        finds it: the running ``run_job``, one that is still to come, or one after a restart.
        """
        component("job id", order.job_id)
        structlog.contextvars.bind_contextvars(id=order.job_id, task=order.task_id)
        log.info("ordered to stop")
        self._host.attempts.mark_stopped(key_of(order.job_id, order.task_id))
        job = self._host.jobs.find(order.job_id, order.task_id)
        if job is not None:
            job.stop.set()
        container = await self._host.engine.containers.inspect(order.job_id)
        if container is not None and container.running and belongs(container, order.task_id):
            await self._host.engine.containers.kill(container.id)
        return Acknowledged()

    @activity.defn(name=DISCARD_JOB.name)
    async def discard_job(self, order: DiscardOrder) -> Acknowledged:
        """Leave nothing of a stopped attempt but its record (docs/spec/agent.md 4.5).

        An attempt that has already ended keeps its record; a later attempt is left alone.
        """
        definition = order.definition
        component("job id", definition.id)
        bind_log_to(definition)
        log.info("ordered to discard")
        await unless_shut_down(self._discard(definition))
        return Acknowledged()

    async def _discard(self, definition: JobDefinition) -> None:
        host, key = self._host, key_of(definition.id, definition.task_id)
        if await self._is_superseded(definition):
            # By one here, which is not disturbed, or elsewhere: the record is that one's to write.
            await Attempt(host, Job(definition, lambda: None, reported=False)).clear_away()
            host.attempts.drop_token(key)
            return
        host.attempts.mark_stopped(key)
        running = host.jobs.find(definition.id, definition.task_id)
        if running is not None:
            running.stop.set()
            await running.gone.wait()
        async with host.jobs.admit(definition, reported=False) as job:
            await Attempt(host, job).stop()
        host.attempts.forget_stopped(key)
        host.attempts.drop_token(key)

    async def _is_superseded(self, definition: JobDefinition) -> bool:
        """Whether a later attempt works here, or is on record."""
        host, ours = self._host, attempt_of(definition.task_id)
        container = await host.engine.containers.inspect(definition.id)
        record = await asyncio.to_thread(load, host.storage, definition.id)
        found = [container.task_id if container else None, record.task_id if record else None]
        found += [job.definition.task_id for job in host.jobs.of(definition.id)]
        return any(attempt_of(task_id) > ours for task_id in found if task_id)
