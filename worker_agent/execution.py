"""Running the program of a job: started, watched to its end, and what the end means.

The container runs by itself. What is watched meanwhile is what nobody can tell afterwards: whether
the kernel killed a process for lack of memory, how much memory was used at most, and whether the
time allowed is over. Whoever watches may be stopped at any moment and another may go on.
"""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import structlog

from rap.durations import exactly
from rap.egress import Fault
from rap.errors import JobFault, TransientFault
from rap.models import JobDefinition
from worker_agent import secrets
from worker_agent.engine.container import (
    DatabaseHost,
    container_config,
    database_hostname,
    uses_database,
)
from worker_agent.engine.facts import KILLED, ContainerFacts
from worker_agent.engine.memory_group import MemoryCount, MemoryGroup, find_memory_group
from worker_agent.host import Host
from worker_agent.interruptions import ground_of
from worker_agent.state.attempts import key_of
from worker_agent.state.runs import RunRecord

log = structlog.get_logger()

LOOK_AT_CLOCK_EVERY = 60.0
KILL_AGAIN_AFTER = 1.0


async def start(host: Host, definition: JobDefinition, image: str) -> None:
    """Start the container of a job (docs/spec/agent.md 8); one that is there already is it.

    Raises:
        PermanentFault: DATABASE_NOT_CONFIGURED, IMAGE_UNAVAILABLE, CONTAINER_REFUSED.
        TransientFault: DATABASE_NETWORK_MISSING, CONTAINER_REFUSED, DISK_FULL, ENGINE_UNAVAILABLE.
    """
    found = secrets.of_job(definition, host.settings)
    database_host = None
    if uses_database(definition, host.settings):
        database_host = await reach_database(host, found["DATABASE_URL"])
    config = container_config(
        definition,
        host.settings,
        image=image,
        mount_source=host.storage.mount_source(definition.attempt_name),
        secrets=found,
        database_host=database_host,
    )
    key, ground = key_of(definition.id, definition.task_id), await ground_of(host, definition)

    def note(container_id: str) -> None:
        host.runs.write(key, RunRecord(container_id=container_id, ground=ground), durable=True)

    try:
        await host.engine.containers.start(definition.id, config, on_created=note)
    except TransientFault as fault:
        if fault.fault in (Fault.CONTAINER_REFUSED, Fault.DISK_FULL):
            host.runs.forget(key)  # it never ran, and is removed again
        raise


async def run_to_end(
    host: Host, definition: JobDefinition, container: ContainerFacts
) -> ContainerFacts | None:
    """Watch a running container to its end, perhaps that of its time; ``None`` if it is gone."""
    watching = [
        asyncio.create_task(_watch_memory(host, definition, container)),
        asyncio.create_task(_end_in_time(host, definition, container)),
    ]
    try:
        ended = await host.engine.containers.wait(definition.id)
    finally:
        for task in watching:
            task.cancel()
        for result in await asyncio.gather(*watching, return_exceptions=True):
            if isinstance(result, Exception):
                log.error("watching a job failed", id=definition.id, exc_info=result)
    return ended


async def explained(host: Host, definition: JobDefinition, ended: ContainerFacts) -> ContainerFacts:
    """An ended container with all that is known about its end.

    The kernel's own counters, seen while it ran, are right; the engine's word is taken as well,
    since nobody may have been there to see them.
    """
    seen = host.runs.read(key_of(definition.id, definition.task_id), ended.id)
    out_of_memory, killed = ended.oom_killed or seen.oom_kills > 0, False
    if ended.exit_code == KILLED or (ended.exit_code and not out_of_memory):
        try:
            events = await host.engine.containers.end_of(ended)
            out_of_memory, killed = out_of_memory or events.out_of_memory, events.killed
        except JobFault as fault:
            log.warning(f"Docker did not say how a container ended: {fault}", id=definition.id)
    return ended.model_copy(
        update={
            "oom_killed": out_of_memory,
            "killed": killed,
            "run_time_limit_s": seen.run_time_limit_s,
            "memory_peak_bytes": seen.memory_peak_bytes,
        }
    )


async def _watch_memory(host: Host, definition: JobDefinition, container: ContainerFacts) -> None:
    group = find_memory_group(host.settings.cgroup_root, container.id, container.pid)
    if group is None:
        log.debug("the container's memory counters cannot be seen from here", id=definition.id)
        return
    known = MemoryCount()
    try:
        async with aclosing(_changes(group, host.pauses.memory)) as changes:
            async for count in changes:
                grown, known = count.oom_kills > known.oom_kills, count
                if grown:
                    _write_down(host, definition, container, known)
    finally:
        _write_down(host, definition, container, group.read() or known)
        group.close()


def _write_down(
    host: Host, definition: JobDefinition, container: ContainerFacts, count: MemoryCount
) -> None:
    key = key_of(definition.id, definition.task_id)
    before = host.runs.read(key, container.id)
    if count.oom_kills > before.oom_kills:
        log.warning(
            "a process of the job was killed for lack of memory",
            id=definition.id,
            limit=container.memory_limit_bytes,
            processes=count.oom_kills,
        )
    peaks = [each for each in (before.memory_peak_bytes, count.peak_bytes) if each is not None]
    after = before.model_copy(
        update={
            "oom_kills": max(before.oom_kills, count.oom_kills),
            "memory_peak_bytes": max(peaks, default=None),
        }
    )
    if after != before:
        host.runs.write(key, after)


async def _changes(group: MemoryGroup, look_every: float) -> AsyncGenerator[MemoryCount, None]:
    """Every change of the counters, until the container is gone."""
    loop, rung = asyncio.get_running_loop(), asyncio.Event()

    def ring() -> None:
        rung.set()
        if group.bell is not None:
            loop.remove_reader(group.bell)  # it would ring until somebody has looked

    known = MemoryCount()
    try:
        while True:
            group.hush()
            for pause in (0.0, *(group.pauses if rung.is_set() else ())):
                await asyncio.sleep(pause)
                count = group.read()
                if count is None:
                    return
                if count != known:
                    grown, known = count.oom_kills > known.oom_kills, count
                    yield count
                    if grown:
                        break
            rung.clear()
            if group.bell is not None:
                loop.add_reader(group.bell, ring)
            with suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), look_every)
    finally:
        if group.bell is not None:
            loop.remove_reader(group.bell)


async def _end_in_time(host: Host, definition: JobDefinition, container: ContainerFacts) -> None:
    """Kill the container when it has run as long as the backend allows, counted from its start."""
    limit = host.settings.job_run_time_limit
    if not limit or container.started_at_ns is None:
        return
    deadline = container.started_at_ns / 1e9 + limit
    # In steps, so that a machine that slept or a clock that was set makes no difference.
    while (left := deadline - time.time()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(min(left, LOOK_AT_CLOCK_EVERY))
    log.warning(f"the job is stopped: it ran longer than {exactly(limit)}", id=definition.id)
    # First the reason: whoever finds the container dead, this agent or the next, must know it.
    key = key_of(definition.id, definition.task_id)
    seen = host.runs.read(key, container.id)
    host.runs.write(key, seen.model_copy(update={"run_time_limit_s": limit}))
    while True:
        try:
            await host.engine.containers.kill(container.id)
        except TransientFault as fault:
            log.warning(f"the job could not be stopped, trying again: {fault}", id=definition.id)
            await asyncio.sleep(KILL_AGAIN_AFTER)
        else:
            return


async def reach_database(host: Host, url: str) -> DatabaseHost | None:
    """Where a database is, as :func:`resolve`, once there is a network to reach it."""
    await reach_network(host)
    return await resolve(url)


async def reach_network(host: Host) -> None:
    """DATABASE_NETWORK_MISSING if there is no network by which databases are reached."""
    network = host.settings.database_access_network
    if await host.engine.system.network(network) is None:
        raise TransientFault(Fault.DATABASE_NETWORK_MISSING, f"Docker has no network {network}")


async def resolve(url: str) -> DatabaseHost | None:
    """The host of a database URL with its address, if it is a name; or DATABASE_NETWORK_MISSING."""
    name = database_hostname(url)
    if name is None:
        return None
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            name, None, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
    except OSError as error:
        raise TransientFault(
            Fault.DATABASE_NETWORK_MISSING, f"the database's host has no address: {error}"
        ) from None
    return DatabaseHost(name=name, address=str(found[0][4][0]))
