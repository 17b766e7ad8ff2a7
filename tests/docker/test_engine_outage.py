"""What becomes of jobs while the Docker engine is away: its socket is cut off and mended."""

import asyncio
import dataclasses
import json
from contextlib import suppress

import pytest
import pytest_asyncio

from activities.agent.control import Control
from activities.agent.run_job import RunJob
from rap.egress import Ending, Fault, Stage
from rap.messages import TerminateOrder
from tests.docker.conftest import eventually
from worker_agent import attempt
from worker_agent.egress_guard import AgentRestart
from worker_agent.engine.docker import Engine
from worker_agent.metrics import Sampler

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("image")]

WAITS = "while ! [ -e /workspace/go ]; do sleep 0.1; done"


class Wire:
    """A line to the engine that can be cut: what it looks like when the engine goes away."""

    def __init__(self, path, target):
        self.path, self.target = path, target
        self.server = None
        self.writers = set()

    async def mend(self):
        self.path.unlink(missing_ok=True)
        self.server = await asyncio.start_unix_server(self._serve, self.path)

    async def cut(self):
        self.server.close()
        self.path.unlink(missing_ok=True)
        for writer in list(self.writers):
            writer.transport.abort()

    async def _serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_unix_connection(self.target)
        self.writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self.writers -= {writer, far_writer}

    async def _pump(self, reader, writer):
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def wire(tmp_path):
    line = Wire(tmp_path / "engine.sock", "/var/run/docker.sock")
    await line.mend()
    yield line
    await line.cut()


@pytest.fixture
def host(host, wire, monkeypatch):
    monkeypatch.setattr(attempt, "FIRST_DELAYS", (0.05, 0.05))
    monkeypatch.setattr(attempt, "LATE_DELAYS", (0.05, 0.05))
    return dataclasses.replace(host, engine=Engine(base_url=f"unix://{wire.path}"))


@pytest.fixture
def run(host, activity_environment):
    def start(definition):
        environment = activity_environment()
        task = asyncio.ensure_future(environment.run(RunJob(host).run_job, definition))
        task.environment = environment
        return task

    return start


def shown(host):
    return [(each.progress.stage, each.progress.trouble) for each in host.jobs.reported()]


async def test_a_running_job_outlasts_an_engine_that_is_away_longer_than_patience(
    run, job, host, wire
):
    definition = job(WAITS, output_spec={})
    task = run(definition)
    await eventually(lambda: shown(host) == [(Stage.EXECUTING, None)])
    before = await host.engine.inspect(definition.id)
    await wire.cut()
    await eventually(lambda: shown(host) == [(Stage.EXECUTING, Fault.ENGINE_UNAVAILABLE)])
    await asyncio.sleep(0.5)  # many times the patience above
    (host.storage.volume(definition.id) / "go").touch()
    await wire.mend()
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
    record = json.loads((host.storage.log_dir(definition) / "metadata.json").read_text())
    assert record["container_metadata"]["Id"] == before.id


async def test_a_job_that_has_not_begun_is_given_up_when_the_engine_stays_away(
    run, job, host, wire
):
    await wire.cut()
    outcome = await run(job(WAITS))
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.ENGINE_UNAVAILABLE)


async def test_a_stop_is_certain_even_if_the_engine_is_away_when_it_comes(
    run, job, host, wire, activity_environment
):
    definition = job(WAITS)
    task = run(definition)
    await eventually(lambda: shown(host) == [(Stage.EXECUTING, None)])
    await wire.cut()
    order = TerminateOrder(job_id=definition.id, task_id=definition.task_id)
    with pytest.raises(attempt.TransientFault):
        await activity_environment().run(Control(host).terminate_job, order)
    await asyncio.sleep(0.3)
    assert not task.done()
    await wire.mend()
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.CANCELLED, 137)
    assert await host.engine.inspect(definition.id) is None


async def test_a_cancel_that_could_not_be_carried_out_is_known_to_the_next_agent(
    run, job, host, wire
):
    definition = job(WAITS)
    task = run(definition)
    await eventually(lambda: shown(host) == [(Stage.EXECUTING, None)])
    await wire.cut()
    task.environment.cancel()
    await asyncio.sleep(0.2)
    assert not task.done()
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task
    await wire.mend()
    outcome = await run(definition)
    assert (outcome.ending, outcome.exit_code) == (Ending.CANCELLED, 137)


async def test_measuring_without_an_engine_yields_nothing_and_harms_nothing(run, job, host, wire):
    definition = job(WAITS, output_spec={})
    task = run(definition)
    await eventually(lambda: shown(host) == [(Stage.EXECUTING, None)])
    sampler = Sampler(host.engine, host.jobs, host.usage, 1)
    await wire.cut()
    await sampler.sample()
    assert host.usage.read(definition.id) is None
    await wire.mend()
    (host.storage.volume(definition.id) / "go").touch()
    assert (await task).ending is Ending.COMPLETED
