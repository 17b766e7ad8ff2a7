"""A disk that fills up, or can be written to no more, while a program runs on it."""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from activities.agent.run_job import RunJob
from rap.egress import Ending, Fault, JobOutcome
from rap.errors import TransientFault
from rap.models import JobDefinition
from rap.sentences import FAULT_SENTENCES
from rap.settings import AgentSettings
from tests.docker.conftest import eventually
from worker_agent import program_log
from worker_agent.gatekeeper import Gatekeeper
from worker_agent.host import Host
from worker_agent.pauses import Pauses

pytestmark = pytest.mark.docker

PATIENT = Pauses(early_tries=(0.01, 0.01), probe=0.05, look_at_disks=0.05)
FILLS = "echo begun; dd if=/dev/zero of=big bs=1M; exit 3"
NOTICES = "echo begun; while touch some; do sleep 0.05; done; exit 3"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


def make_read_only(disk: Path) -> bool:
    """Whether that went well: somebody may be writing at that moment."""
    try:
        mount("-o", "remount,ro", str(disk))
    except subprocess.CalledProcessError:
        return False
    return True


@pytest.fixture
def host(settings: AgentSettings, disk: Path) -> Host:
    changes = {"high_privacy_volume_dir": disk, "disk_reserve_mb": 8}
    return Host.of(settings.model_copy(update=changes), PATIENT)


@pytest.fixture
def run(host: Host, activity_environment: Callable[..., Any]) -> Callable[..., Any]:
    def start(definition: JobDefinition) -> asyncio.Task[JobOutcome]:
        return asyncio.ensure_future(activity_environment().run(RunJob(host).run_job, definition))

    return start


async def test_a_program_that_failed_on_a_full_disk_is_told_so_and_leaves_room(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, disk: Path
) -> None:
    definition = job(FILLS)
    outcome = await run(definition)
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.DISK_FULL)
    assert list(disk.iterdir()) == []
    folder = host.storage.log_dir(definition)
    error = json.loads((folder / "metadata.json").read_text())["error"]
    assert error["message"] == FAULT_SENTENCES[Fault.DISK_FULL]
    log = (folder / "logs.txt").read_text()
    assert "begun" in log
    assert FAULT_SENTENCES[Fault.DISK_FULL] in log
    assert host.closures.faults == (Fault.DISK_FULL,)
    keeping = asyncio.create_task(Gatekeeper(host).run())
    await eventually(lambda: host.closures.faults == ())
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_program_that_failed_for_its_own_reason_beside_a_full_disk_is_not_believed(
    run: Callable[..., Any], job: Callable[..., Any], disk: Path
) -> None:
    assert (await run(job("exit 3"))).exit_code == 3
    held = disk / "held"
    task = run(job("while ! [ -e /workspace/go ]; do sleep 0.05; done; exit 3"))
    volume = await eventually(lambda: next(disk.glob("[!.]*"), None))
    held.write_bytes(bytes(60 * 2**20))
    (volume / "go").touch()
    assert (await task).fault is Fault.DISK_FULL


async def test_a_program_whose_disk_became_read_only_is_told_so(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, disk: Path
) -> None:
    definition = job(NOTICES)
    task = run(definition)
    await eventually(lambda: next(disk.glob("*/some"), None))
    await eventually(lambda: make_read_only(disk))
    outcome = await task
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.DISK_READ_ONLY)
    assert host.closures.faults == (Fault.DISK_READ_ONLY,)
    assert await host.engine.containers.inspect(definition.id) is None
    outcome = await run(job("true"))
    assert (outcome.ending, outcome.fault) == (Ending.RETURNED, Fault.DISK_READ_ONLY)


async def test_a_disk_that_others_fill_closes_the_host_until_there_is_room(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, disk: Path
) -> None:
    keeping = asyncio.create_task(Gatekeeper(host).run())
    held = disk / "held"
    held.write_bytes(bytes(60 * 2**20))
    await eventually(lambda: host.closures.faults == (Fault.DISK_FULL,))
    outcome = await run(job("true"))
    assert (outcome.ending, outcome.fault) == (Ending.RETURNED, Fault.DISK_FULL)
    held.unlink()
    await eventually(lambda: host.closures.faults == ())
    assert (await run(job("true", output_spec={}))).exit_code == 0
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_what_a_failure_was_is_known_after_the_volume_has_made_room(
    run: Callable[..., Any],
    job: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fetch, failures = program_log.fetch, [TransientFault(Fault.ENGINE_UNAVAILABLE, "no answer")]

    async def fetch_later(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        await fetch(*arguments)

    monkeypatch.setattr(program_log, "fetch", fetch_later)
    outcome = await run(job(FILLS))
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.DISK_FULL)
    assert outcome.exit_code == 3
