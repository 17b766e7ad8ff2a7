"""Closes the host to what it cannot do, and tries by itself until it can.

So no job is tried where it cannot be started: jobs wait with the reason, and all of them start
within seconds of the end of the trouble (docs/explanation/healing.md).
"""

import asyncio
import os
from functools import partial
from pathlib import Path

import structlog

from rap.egress import Fault
from rap.errors import JobFault, PermanentFault, TransientFault
from rap.ids import image_key
from rap.models import DEFAULT_DATABASE, JobDefinition
from worker_agent import execution, secrets
from worker_agent.closures import Door, Probe
from worker_agent.disk import DISK_FAULTS, RESERVE, trouble_of
from worker_agent.engine.container import uses_database
from worker_agent.engine.images import ensure_image
from worker_agent.host import Host
from worker_agent.workspace.storage import folders

log = structlog.get_logger()


class Gatekeeper:
    """Looks at the disks all the time, and tries what does not work until it does."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._trying: set[Door] = set()

    async def run(self) -> None:
        """Until cancelled."""
        self._trying.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_disks())
            while True:
                for door in {*self._host.closures.doors} - self._trying:
                    self._trying.add(door)
                    group.create_task(self._try_until_open(door))
                await self._host.closures.news()

    async def _watch_disks(self) -> None:
        while True:
            trouble = await asyncio.to_thread(_trouble_of_folders, self._host)
            if trouble is not None:
                self._host.closures.close(Door(trouble))
            await asyncio.sleep(self._host.pauses.look_at_disks)

    async def _try_until_open(self, door: Door) -> None:
        pauses = self._host.pauses
        pause, longest = pauses.probe, pauses.probe_image if door.image else pauses.probe_most
        try:
            while True:
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
                try:
                    await self._probe(door)
                except PermanentFault:
                    break  # the job itself is to learn of it
                except JobFault as fault:
                    log.debug(f"still closed: {fault}")
                except Exception:
                    log.exception("whether a fault has passed could not be found out")
                else:
                    break
            self._host.closures.open(door)
        finally:
            self._trying.discard(door)

    async def _probe(self, door: Door) -> None:
        if door.probe is not None:
            await door.probe()
        elif door.fault in DISK_FAULTS:
            trouble = await disk_trouble(self._host)
            if trouble is door.fault:
                raise TransientFault(trouble, "a disk")
        else:
            await self._host.engine.system.version()


async def close_for(host: Host, definition: JobDefinition, fault: JobFault) -> None:
    """Close what a fault of an attempt says of the host, if it says anything.

    Of a lost engine its connections tell by themselves.
    """
    if fault.fault in DISK_FAULTS:
        trouble = await disk_trouble(host)
        if trouble is not None:
            host.closures.close(Door(trouble))
    elif fault.fault is Fault.DATABASE_NETWORK_MISSING:
        try:
            await execution.reach_network(host)
        except TransientFault:
            probe: Probe = partial(execution.reach_network, host)
        else:
            if definition.database_name not in (None, DEFAULT_DATABASE):
                return  # one of several databases, which others do not need
            url = secrets.of_job(definition, host.settings)["DATABASE_URL"]
            probe = partial(execution.reach_database, host, url)
        host.closures.close(Door(fault.fault, probe=probe))


def close_image(host: Host, definition: JobDefinition, fault: JobFault) -> None:
    """Take no jobs of an image that could not be got, and go on trying to get it."""
    if fault.fault in (Fault.IMAGE_PULL_FAILED, *DISK_FAULTS):
        pull = partial(
            ensure_image,
            host.engine,
            definition.image,
            definition.image_sha,
            host.settings,
            pause=host.pauses.pull,
        )
        key = image_key(definition.image, definition.image_sha)
        host.closures.close(Door(fault.fault, image=key, probe=pull))


def concerning(host: Host, definition: JobDefinition) -> Fault | None:
    """Why a job cannot be started now, as far as it is known."""
    return host.closures.concerning(
        image=image_key(definition.image, definition.image_sha),
        uses_database=uses_database(definition, host.settings),
    )


async def disk_trouble(host: Host) -> Fault | None:
    """What is wrong with a disk that jobs write to; those of the engine are looked at if they can
    be.
    """
    trouble = await asyncio.to_thread(_trouble_of_folders, host)
    if trouble is not None:
        return trouble
    try:
        root = (await host.engine.system.state()).root_dir
    except JobFault:
        return None
    return await asyncio.to_thread(trouble_of, root, host.settings.disk_reserve_mb * 2**20)


def _trouble_of_folders(host: Host) -> Fault | None:
    for folder in folders(host.settings).values():
        holds_volumes = folder == host.settings.volume_dir
        reserve = host.settings.disk_reserve_mb * 2**20 if holds_volumes else RESERVE
        trouble = trouble_of(_existing(folder), reserve)
        if trouble is not None:
            return trouble
    return None


def _existing(folder: Path) -> Path:
    return next((each for each in (folder, *folder.parents) if os.path.lexists(each)), folder)
