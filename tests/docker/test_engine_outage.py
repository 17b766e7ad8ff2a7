"""What becomes of jobs while the Docker engine is away: its socket is cut off and mended."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from activities.agent.control import Control
from activities.agent.run_job import RunJob
from rap.egress import Ending, Fault, Stage
from rap.errors import TransientFault
from rap.messages.jobs import TerminateOrder
from rap.models import JobDefinition
from tests.docker.conftest import PATIENCE, eventually
from tests.docker.engines import engine_with
from tests.docker.wire import Wire
from worker_agent import execution
from worker_agent.closures import Door
from worker_agent.egress_guard import AgentRestart
from worker_agent.gatekeeper import Gatekeeper
from worker_agent.host import Host
from worker_agent.pauses import Pauses
from worker_agent.reports import Reporter
from worker_agent.usage.sampler import Sampler

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("image")]

WAITS = "while ! [ -e /workspace/go ]; do sleep 0.1; done"


@pytest_asyncio.fixture
async def wire(tmp_path: Path) -> AsyncIterator[Any]:
    line = Wire(tmp_path / "engine.sock", "/var/run/docker.sock")
    await line.mend()
    yield line
    await line.cut()


@pytest.fixture
def host(host: Host, wire: Wire) -> Host:
    closures = host.closures
    away = Door(Fault.ENGINE_UNAVAILABLE)
    return dataclasses.replace(
        host,
        engine=engine_with(base_url=f"unix://{wire.path}", on_away=lambda: closures.close(away)),
        pauses=Pauses(early_tries=(0.05, 0.05), late_tries=(0.05, 0.05)),
    )


@pytest_asyncio.fixture
async def run(host: Host, activity_environment: Callable[..., Any]) -> AsyncIterator[Any]:
    begun: list[Any] = []

    def start(definition: JobDefinition, at: Host = host) -> asyncio.Task[Any]:
        environment = activity_environment()
        task = asyncio.ensure_future(environment.run(RunJob(at).run_job, definition))
        task.environment = environment
        begun.append(task)
        return task

    yield start
    for task in begun:
        # A failed test's job would go on and fill the log of the next one.
        task.environment.worker_shutdown()
    await asyncio.gather(*begun, return_exceptions=True)


def shown(host: Host) -> list[Any]:
    return [(each.progress.stage, each.progress.trouble) for each in host.jobs.reported()]


async def test_a_running_job_outlasts_an_engine_that_is_away_longer_than_patience(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, wire: Wire
) -> None:
    definition = job(WAITS, output_spec={})
    task = run(definition)
    await eventually(lambda: shown(host) == [(Stage.EXECUTING, None)])
    before = await host.engine.containers.inspect(definition.id)
    await wire.cut()
    await eventually(lambda: shown(host) == [(Stage.EXECUTING, Fault.ENGINE_UNAVAILABLE)])
    await asyncio.sleep(0.5)  # many times the patience above
    (host.storage.volume(definition.id) / "go").touch()
    await wire.mend()
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
    record = json.loads((host.storage.log_dir(definition) / "metadata.json").read_text())
    assert record["container_metadata"]["Id"] == before.id


async def test_a_job_that_has_not_begun_is_given_back_when_the_engine_stays_away(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, wire: Wire
) -> None:
    await wire.cut()
    definition = job(WAITS)
    outcome = await run(definition)
    assert (outcome.ending, outcome.fault) == (Ending.RETURNED, Fault.ENGINE_UNAVAILABLE)
    assert host.closures.faults == (Fault.ENGINE_UNAVAILABLE,)
    assert host.attempts.owner(definition.id) is None
    assert not host.storage.volume(definition.id).exists()


async def test_a_job_whose_start_was_asked_for_is_not_given_back(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    wire: Wire,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = execution.start

    async def start_and_lose_the_engine(*arguments: Any) -> None:
        await start(*arguments)
        await wire.cut()
        raise TransientFault(Fault.ENGINE_UNAVAILABLE, "no answer")

    monkeypatch.setattr(execution, "start", start_and_lose_the_engine)
    definition = job(WAITS, output_spec={})
    task = run(definition)
    await eventually(lambda: [each[1] for each in shown(host)] == [Fault.ENGINE_UNAVAILABLE])
    await asyncio.sleep(0.5)  # many times the patience above
    assert not task.done()
    (host.storage.volume(definition.id) / "go").touch()
    await wire.mend()
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)


async def test_the_host_says_at_once_that_its_engine_is_away_and_when_it_is_back(
    host: Host, wire: Wire
) -> None:
    host.settings.high_privacy.mkdir()
    reporter = Reporter(host, None)
    heard: list[bool] = []
    host.closures.on_change = lambda: heard.append(host.closures.is_closed)
    keeping = asyncio.create_task(Gatekeeper(host).run())
    assert (await reporter.report("1.0")).room > 0
    await wire.cut()
    with pytest.raises(TransientFault):
        await host.engine.containers.inspect("any")
    report = await reporter.report(None)
    assert (report.closed, report.room) == ((Fault.ENGINE_UNAVAILABLE,), 0)
    assert heard == [True]
    await wire.mend()
    await eventually(lambda: heard == [True, False])
    assert (await reporter.report("1.0")).closed == ()
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_job_that_waits_for_the_engine_goes_on_as_soon_as_it_is_back(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, wire: Wire
) -> None:
    # With these pauses it would wait for minutes.
    patient = dataclasses.replace(host, pauses=Pauses(late_tries=(600.0,)))
    keeping = asyncio.create_task(Gatekeeper(patient).run())
    definition = job(WAITS, output_spec={})
    task = run(definition, patient)
    await eventually(lambda: shown(host) == [(Stage.EXECUTING, None)])
    await wire.cut()
    await eventually(lambda: shown(host) == [(Stage.EXECUTING, Fault.ENGINE_UNAVAILABLE)])
    (host.storage.volume(definition.id) / "go").touch()
    await wire.mend()
    assert (await asyncio.wait_for(task, PATIENCE)).exit_code == 0
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_stop_is_certain_even_if_the_engine_is_away_when_it_comes(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    wire: Wire,
    activity_environment: Callable[..., Any],
) -> None:
    definition = job(WAITS)
    task = run(definition)
    await eventually(lambda: shown(host) == [(Stage.EXECUTING, None)])
    await wire.cut()
    order = TerminateOrder(job_id=definition.id, task_id=definition.task_id)
    with pytest.raises(TransientFault):
        await activity_environment().run(Control(host).terminate_job, order)
    await asyncio.sleep(0.3)
    assert not task.done()
    await wire.mend()
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.CANCELLED, 137)
    assert await host.engine.containers.inspect(definition.id) is None


async def test_a_cancel_that_could_not_be_carried_out_is_known_to_the_next_agent(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, wire: Wire
) -> None:
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


async def test_measuring_without_an_engine_yields_nothing_and_harms_nothing(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, wire: Wire
) -> None:
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
