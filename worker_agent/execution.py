"""Running the program of a job: started, watched to its end, and what the end means.

The container runs by itself. What is watched meanwhile is what nobody can tell afterwards: whether
the kernel killed a process for lack of memory, how much memory was used at most, and whether the
time allowed is over. Whoever watches may be stopped at any moment and another may go on.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from rap.egress import Fault
from rap.errors import JobFault, TransientFault
from rap.exit_notes import duration
from rap.models import JobDefinition
from worker_agent import secrets
from worker_agent.engine.container import (
    DatabaseHost,
    container_config,
    database_hostname,
    uses_database,
)
from worker_agent.engine.facts import ContainerFacts
from worker_agent.engine.memory_group import MemoryCount, MemoryGroup, find_memory_group
from worker_agent.host import Host

log = structlog.get_logger()

LOOK_AT_MEMORY_EVERY = 2.0
"""Seconds; a kill for lack of memory is seen at once where the kernel rings for it."""
LOOK_AT_CLOCK_EVERY = 60.0
KILL_AGAIN_AFTER = 1.0
KILLED = 137


async def start(host: Host, definition: JobDefinition, image: str) -> None:
    """Start the container of a job (agent.md 8); one that is there already is it.

    Raises:
        PermanentFault: DATABASE_NOT_CONFIGURED, IMAGE_UNAVAILABLE, CONTAINER_REFUSED.
        TransientFault: DATABASE_NETWORK_MISSING, CONTAINER_REFUSED, DISK_FULL, ENGINE_UNAVAILABLE.
    """
    found = secrets.of_job(definition, host.settings)
    database_host = None
    if uses_database(definition, host.settings):
        network = host.settings.database_access_network
        if not await host.engine.has_network(network):
            raise TransientFault(Fault.DATABASE_NETWORK_MISSING, f"Docker has no network {network}")
        database_host = await resolve(found["DATABASE_URL"])
    config = container_config(
        definition,
        host.settings,
        image=image,
        mount_source=host.storage.mount_source(definition.id),
        secrets=found,
        database_host=database_host,
    )
    await host.engine.start(definition.id, config)


async def run_to_end(host: Host, job_id: str, container: ContainerFacts) -> ContainerFacts | None:
    """Watch a running container to its end, and end it when its time is over.

    Returns:
        The ended container, with what was seen of it; ``None`` if it is gone.
    """
    watching = [
        asyncio.create_task(_watch_memory(host, job_id, container)),
        asyncio.create_task(_end_in_time(host, job_id, container)),
    ]
    try:
        ended = await host.engine.wait(job_id)
    finally:
        for task in watching:
            task.cancel()
        for result in await asyncio.gather(*watching, return_exceptions=True):
            if isinstance(result, Exception):
                log.error("watching a job failed", id=job_id, exc_info=result)
    return ended


async def explained(host: Host, job_id: str, ended: ContainerFacts) -> ContainerFacts:
    """An ended container with all that is known about its end.

    The kernel's own counters, seen while it ran, are right; the engine's word is taken as well,
    since nobody may have been there to see them.
    """
    seen = host.runs.read(job_id, ended.id)
    out_of_memory, killed = ended.oom_killed or seen.oom_kills > 0, False
    if ended.exit_code == KILLED or (ended.exit_code and not out_of_memory):
        try:
            told = await host.engine.end_of(ended)
            out_of_memory, killed = out_of_memory or told.out_of_memory, told.killed
        except JobFault as fault:
            log.warning(f"Docker did not say how a container ended: {fault}", id=job_id)
    return ended.model_copy(
        update={
            "oom_killed": out_of_memory,
            "killed": killed,
            "run_time_limit_s": seen.run_time_limit_s,
            "memory_peak_bytes": seen.memory_peak_bytes,
        }
    )


async def _watch_memory(host: Host, job_id: str, container: ContainerFacts) -> None:
    group = find_memory_group(host.settings.cgroup_root, container.id, container.pid)
    if group is None:
        log.debug("the container's memory counters cannot be seen from here", id=job_id)
        return
    known = MemoryCount()

    def note(count: MemoryCount) -> None:
        nonlocal known
        grown, known = count.oom_kills > known.oom_kills, count
        if grown:
            _write_down(host, job_id, container, known)

    try:
        await _follow(group, note)
    finally:
        note(group.read() or known)
        _write_down(host, job_id, container, known)
        group.close()


def _write_down(host: Host, job_id: str, container: ContainerFacts, count: MemoryCount) -> None:
    before = host.runs.read(job_id, container.id)
    if count.oom_kills > before.oom_kills:
        log.warning(
            "a process of the job was killed for lack of memory",
            id=job_id,
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
        host.runs.write(job_id, after)


async def _follow(group: MemoryGroup, note: Callable[[MemoryCount], None]) -> None:
    """Pass every change of the counters on, until the container is gone."""
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
                    note(count)
                    if grown:
                        break
            rung.clear()
            if group.bell is not None:
                loop.add_reader(group.bell, ring)
            with suppress(TimeoutError):
                await asyncio.wait_for(rung.wait(), LOOK_AT_MEMORY_EVERY)
    finally:
        if group.bell is not None:
            loop.remove_reader(group.bell)


async def _end_in_time(host: Host, job_id: str, container: ContainerFacts) -> None:
    """Kill the container when it has run as long as the backend allows, counted from its start."""
    limit = host.settings.job_run_time_limit
    if not limit or container.started_at_ns is None:
        return
    deadline = container.started_at_ns / 1e9 + limit
    # In steps, so that a machine that slept or a clock that was set makes no difference.
    while (left := deadline - time.time()) > 0:  # noqa: ASYNC110
        await asyncio.sleep(min(left, LOOK_AT_CLOCK_EVERY))
    log.warning(f"the job is stopped: it ran longer than {duration(limit)}", id=job_id)
    # First the reason: whoever finds the container dead, this agent or the next, must know it.
    seen = host.runs.read(job_id, container.id)
    host.runs.write(job_id, seen.model_copy(update={"run_time_limit_s": limit}))
    while True:
        try:
            await host.engine.kill(container.id)
        except TransientFault as fault:
            log.warning(f"the job could not be stopped, trying again: {fault}", id=job_id)
            await asyncio.sleep(KILL_AGAIN_AFTER)
        else:
            return


async def resolve(url: str) -> DatabaseHost | None:
    """The host of a database URL with its address, if it is a name.

    Raises:
        TransientFault: DATABASE_NETWORK_MISSING, the name has no address now.
    """
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
