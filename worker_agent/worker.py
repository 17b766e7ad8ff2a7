"""The agent process: what it is made of, how it starts and how it stops."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import structlog
from temporalio.client import Client
from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import Worker, WorkerDeploymentConfig

from activities.agent.control import Control
from activities.agent.database import Database
from activities.agent.run_job import RunJob
from rap import ids
from rap.errors import TransientFault
from rap.settings import AgentSettings
from rap.temporal.client import connect, connect_when_up, runtime_with_metrics
from rap.temporal.health import Watch
from rap.waiting import until_it_answers
from worker_agent import startup
from worker_agent.agent_lock import sole_use
from worker_agent.egress_guard import EgressGuard
from worker_agent.gatekeeper import Gatekeeper
from worker_agent.host import Host
from worker_agent.preflight import check_user
from worker_agent.reports import Reporter
from worker_agent.usage.sampler import Sampler

log = structlog.get_logger()

SPARE_THREADS = 16
"""Beside one for each job. They copy, hash and do other work on files; those of the engine are its
own."""
GRACE = timedelta(seconds=5)
STOP_LIMIT = 7.0
"""Seconds from the signal to the end, whatever still hangs: services are killed after ten."""
HELPER_PAUSE = 5.0
AT_ONCE = 2
"""Database checks that a host makes at the same time: one of each kind."""
CANCEL_THROTTLE = timedelta(seconds=2)


def identity(backend: str) -> str:
    """What Temporal shows of this agent: no host name, no process id."""
    return f"rap-agent-{backend}"


def workers(host: Host, client: Client) -> tuple[Worker, ...]:
    """For the jobs of a host, for orders that must not wait, and for what any host can do."""
    backend, name = host.settings.backend, host.settings.agent_host
    control, database = Control(host), Database(host)
    # Left out, the SDK would make one up from all code that is loaded, which takes it a second.
    version = WorkerDeploymentVersion(identity(backend), host.settings.version)
    worker = partial(
        Worker,
        client,
        interceptors=[EgressGuard()],
        deployment_config=WorkerDeploymentConfig(version=version, use_worker_versioning=False),
        graceful_shutdown_timeout=GRACE,
    )
    return (
        worker(
            task_queue=ids.host_queue(backend, name),
            activities=[RunJob(host).run_job],
            max_concurrent_activities=host.settings.agent_max_jobs,
            max_heartbeat_throttle_interval=CANCEL_THROTTLE,
        ),
        worker(
            task_queue=ids.control_queue(backend, name),
            activities=[control.terminate_job, control.discard_job],
        ),
        worker(
            task_queue=ids.agent_queue(backend),
            activities=[database.database_status, database.database_data_check],
            max_concurrent_activities=AT_ONCE,
            max_heartbeat_throttle_interval=CANCEL_THROTTLE,
        ),
    )


async def run(settings: AgentSettings, stop: asyncio.Event) -> None:
    """Be the agent until told to stop. Whatever it needs and is not there is waited for."""
    agent = asyncio.create_task(_serve(settings, stop))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({agent, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not agent.done():
        log.info("stopping: jobs are given back, their containers run on")
        await asyncio.wait({agent}, timeout=STOP_LIMIT)
    stopping.cancel()
    if agent.done():
        await agent


async def _serve(settings: AgentSettings, stop: asyncio.Event) -> None:
    threads = ThreadPoolExecutor(settings.agent_max_jobs + SPARE_THREADS)
    asyncio.get_running_loop().set_default_executor(threads)
    host = Host.of(settings)
    engine = await until_it_answers(
        host.engine.system.state,
        on_wait=lambda why: log.warning(f"Docker does not answer, waiting for it: {why}"),
        away=TransientFault,
    )
    check_user(settings, euid=os.geteuid(), rootless=engine.rootless)
    log.info(startup.describe(host, engine))
    # Whoever works here now goes on until this process could do it as well.
    await connect_when_up(identity=identity(settings.backend), on_wait=log.warning)
    with await sole_use(host.storage.state_dir):
        client = await connect_when_up(
            identity=identity(settings.backend),
            on_wait=log.warning,
            runtime=runtime_with_metrics(
                settings.rap_agent_metrics_address, setting="RAP_AGENT_METRICS_ADDRESS"
            ),
        )
        await startup.settle_the_past(host, client)
        reporter = Reporter(host, client)
        host.jobs.on_change = host.closures.on_change = reporter.changed
        sampler = Sampler(
            host.engine, host.jobs, host.usage, settings.stats_poll_interval, settings.backend
        )
        watch = Watch(lambda: connect(identity=identity(settings.backend)))
        own = workers(host, client)
        async with asyncio.TaskGroup() as group:
            serving = [group.create_task(each.run()) for each in own]
            helpers = (reporter, sampler, watch, Gatekeeper(host))
            helping = [group.create_task(_always(each.run)) for each in helpers]
            # Operators' tools wait for this very line.
            log.info("agent.main loop started")
            await stop.wait()
            for helper in helping:
                helper.cancel()
            await asyncio.gather(*(each.shutdown() for each in own))
            await asyncio.gather(*serving)


async def _always(work: Callable[[], Awaitable[None]]) -> None:
    """Keep a helper going: what goes wrong in it must not disturb the jobs."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("a helper of the agent failed and begins again")
        await asyncio.sleep(HELPER_PAUSE)
