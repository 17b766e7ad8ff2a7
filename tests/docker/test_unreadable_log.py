"""A log that the engine cannot read any more, and what becomes of its job."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from activities.agent.run_job import RunJob
from rap.egress import Ending
from rap.models import JobDefinition
from tests.docker.conftest import eventually
from tests.docker.engines import engine_with
from tests.docker.private_engine import PrivateEngine
from worker_agent import program_log
from worker_agent.host import Host
from worker_agent.pauses import Pauses

pytestmark = pytest.mark.docker

SPEAKS = (
    "for i in 1 2 3 4 5 6 7 8; do echo line $i; done; mkdir output; echo a,b > output/one.csv; "
    "while ! [ -e go ]; do sleep 0.05; done; exit 7"
)
SHORT = Pauses(early_tries=(0.01, 0.01), late_tries=(0.05,) * 2000)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    own = PrivateEngine(tmp_path_factory.mktemp("engine"))
    own.start()
    own.build_image()
    yield own
    own.remove()


@pytest_asyncio.fixture
async def kept_up(engine: PrivateEngine) -> AsyncIterator[list[int]]:
    """Starts the engine again whenever it dies; how often that was."""
    deaths: list[int] = []

    async def watch() -> None:
        while True:
            assert engine.process is not None
            if (code := engine.process.poll()) is not None:
                deaths.append(code)
                await asyncio.to_thread(engine.start)
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(watch())
    yield deaths
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


@pytest.fixture
def host(host: Host, engine: PrivateEngine) -> Host:
    return dataclasses.replace(host, engine=engine_with(base_url=engine.url), pauses=SHORT)


def nothing_there(log: Path) -> None:
    log.unlink()
    log.mkdir()


def zeros_in_it(log: Path) -> None:
    content = log.read_bytes()
    log.write_bytes(content[:100] + bytes(80) + content[180:])


@pytest.mark.parametrize("harm", [nothing_there, zeros_in_it])
async def test_a_log_that_cannot_be_read_is_given_up_and_the_outcome_kept(
    harm: Callable[[Path], None],
    job: Callable[..., JobDefinition],
    host: Host,
    engine: PrivateEngine,
    kept_up: list[int],
    activity_environment: Callable[..., Any],
) -> None:
    definition = job(SPEAKS)
    task = asyncio.ensure_future(activity_environment().run(RunJob(host).run_job, definition))

    async def log_file() -> Path | None:
        container = await host.engine.containers.inspect(definition.id)
        if container is None or not container.running:
            return None
        path = engine.folder / "data/containers" / container.id / "local-logs/container.log"
        return path if path.exists() and b"line 8" in path.read_bytes() else None

    harm(await eventually(log_file))
    (host.storage.volume(definition.id) / "go").touch()
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 7)
    assert len(kept_up) <= program_log.TRIES
    folder = host.storage.log_dir(definition)
    lines = (folder / "logs.txt").read_text()
    # An engine that died of it may find nothing at all once it is back.
    assert program_log.LOST in lines or program_log.PERHAPS_LOST in lines
    assert "exit_code: 7\n" in lines
    assert json.loads((folder / "metadata.json").read_text())["exit_code"] == "7"
    assert (host.storage.high("wksp") / "output/one.csv").exists()
    left = [path.name for path in host.storage.state_dir.rglob(f"*{definition.id}*")]
    assert left == []
