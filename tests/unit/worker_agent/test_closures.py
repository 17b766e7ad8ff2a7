"""What a host cannot do for the time being: which jobs that concerns, and when it is over."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rap.egress import Fault
from rap.errors import PermanentFault, TransientFault
from rap.settings import AgentSettings
from worker_agent.closures import Closures, Door
from worker_agent.disk import disk_fault, trouble_of
from worker_agent.gatekeeper import Gatekeeper
from worker_agent.host import Host
from worker_agent.pauses import Pauses

pytestmark = pytest.mark.unit

ENGINE = Door(Fault.ENGINE_UNAVAILABLE)
DATABASE = Door(Fault.DATABASE_NETWORK_MISSING)
IMAGE = Door(Fault.IMAGE_PULL_FAILED, image="0123456789ab")
QUICK = Pauses(probe=0.001, probe_most=0.001, probe_image=0.001, look_at_disks=0.001)


def concerned(door: Door) -> set[str]:
    closures = Closures()
    closures.close(door)
    jobs: dict[str, dict[str, Any]] = {
        "plain": {"image": "other", "uses_database": False},
        "database": {"image": "other", "uses_database": True},
        "of the image": {"image": IMAGE.image, "uses_database": False},
    }
    return {name for name, job in jobs.items() if closures.concerning(**job) is door.fault}


def test_each_fault_concerns_what_it_is_about_and_no_more() -> None:
    assert concerned(ENGINE) == {"plain", "database", "of the image"}
    assert concerned(Door(Fault.DISK_FULL)) == concerned(ENGINE)
    assert concerned(Door(Fault.DISK_READ_ONLY)) == concerned(ENGINE)
    assert concerned(DATABASE) == {"database"}
    assert concerned(IMAGE) == {"of the image"}


def test_a_report_differs_only_when_a_door_moves() -> None:
    closures, heard = Closures(), []
    closures.on_change = lambda: heard.append((closures.faults, closures.images))
    for _ in range(2):
        closures.close(DATABASE)
        closures.close(IMAGE)
    assert not closures.is_closed
    closures.close(ENGINE)
    assert closures.is_closed
    for _ in range(2):
        closures.open(ENGINE)
    assert heard == [
        ((DATABASE.fault,), ()),
        ((DATABASE.fault,), (IMAGE.image,)),
        ((DATABASE.fault, ENGINE.fault), (IMAGE.image,)),
        ((DATABASE.fault,), (IMAGE.image,)),
    ]


async def test_whoever_waits_for_a_door_goes_on_when_it_opens() -> None:
    closures = Closures()
    closures.close(ENGINE)
    waiting = asyncio.create_task(closures.until_open(ENGINE.fault, 1e6))
    await asyncio.sleep(0)
    closures.open(ENGINE)
    await asyncio.wait_for(waiting, 30)
    await closures.until_open(ENGINE.fault, 0.001)  # nothing is closed: the time is waited for


@pytest.fixture
def host(tmp_path: Path) -> Host:
    settings = AgentSettings(
        backend="test",
        workdir=tmp_path / "w",
        high_privacy_storage_base=tmp_path / "h",
        medium_privacy_storage_base=tmp_path / "m",
        disk_reserve_mb=0,
    )
    return Host.of(settings, QUICK)


async def opened(host: Host, *doors: Door) -> None:
    keeping = asyncio.create_task(Gatekeeper(host).run())
    async with asyncio.timeout(30):
        while {*host.closures.doors} & {*doors}:
            await asyncio.sleep(0.001)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_what_does_not_work_is_tried_until_it_does(host: Host) -> None:
    faults: Iterator[Exception] = iter(
        [TransientFault(DATABASE.fault, "still"), ValueError("unforeseen")]
    )

    async def probe() -> None:
        for fault in faults:
            raise fault

    door = Door(DATABASE.fault, probe=probe)
    host.closures.close(door)
    await opened(host, door)
    assert next(faults, None) is None


async def test_an_image_that_its_registry_does_not_have_is_left_to_its_jobs(host: Host) -> None:
    async def probe() -> None:
        raise PermanentFault(Fault.IMAGE_UNAVAILABLE, "no such image")

    door = Door(IMAGE.fault, image=IMAGE.image, probe=probe)
    host.closures.close(door)
    await opened(host, door)


async def test_a_disk_without_room_closes_the_host(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = SimpleNamespace(f_flag=0, f_files=9, f_ffree=9, f_bavail=0, f_frsize=4096)
    keeping = asyncio.create_task(Gatekeeper(host).run())
    with monkeypatch.context() as patched:
        patched.setattr("worker_agent.disk.os.statvfs", lambda _: full)
        async with asyncio.timeout(30):
            while not host.closures.is_closed:
                await asyncio.sleep(0.001)
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)
    assert host.closures.faults == (Fault.DISK_FULL,)
    assert host.closures.concerning(image="", uses_database=False) is Fault.DISK_FULL


@pytest.mark.parametrize(
    ("facts", "trouble"),
    [
        ({}, None),
        ({"f_bavail": 1}, Fault.DISK_FULL),
        ({"f_ffree": 0}, Fault.DISK_FULL),
        ({"f_ffree": 0, "f_files": 0}, None),  # a disk that does not count its files
        ({"f_flag": os.ST_RDONLY, "f_bavail": 0}, Fault.DISK_READ_ONLY),
    ],
)
def test_a_disk_is_in_trouble(
    facts: dict[str, int], trouble: Fault | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {"f_flag": 0, "f_files": 9, "f_ffree": 9, "f_bavail": 100, "f_frsize": 4096}
    found = SimpleNamespace(**(usual | facts))
    monkeypatch.setattr("worker_agent.disk.os.statvfs", lambda _: found)
    assert trouble_of(Path("/"), 8192) is trouble


def test_a_disk_that_cannot_be_seen_is_not_in_trouble(tmp_path: Path) -> None:
    assert trouble_of(tmp_path / "nowhere", 2**60) is None


def test_the_errors_of_disks_are_faults_and_no_others() -> None:
    numbers = {28: Fault.DISK_FULL, 122: Fault.DISK_FULL, 30: Fault.DISK_READ_ONLY, 5: None}
    for number, fault in numbers.items():
        found = disk_fault(OSError(number, "text"))
        assert (found.fault if found else None) is fault
