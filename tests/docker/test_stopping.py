"""Stopping a job whatever it is busy with, and what jobs that prepare do to the others: nothing."""

import asyncio
import json
import os
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from docker import DockerClient

from activities.agent.control import Control
from activities.agent.run_job import RunJob
from rap.egress import Ending, Fault, JobOutcome, Stage
from rap.ids import image_key
from rap.messages.jobs import DiscardOrder, TerminateOrder
from rap.models import JobDefinition
from rap.settings import AgentSettings
from tests.docker.conftest import eventually, files_in
from tests.docker.registry import Registry
from worker_agent import attempt
from worker_agent.engine.facts import ContainerFacts
from worker_agent.host import Host
from worker_agent.pauses import Pauses
from worker_agent.workspace.finalize import finalize

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("image")]

WRITES = "mkdir output; echo a,b > output/one.csv"
WAITS = "while ! [ -e /workspace/go ]; do sleep 0.1; done; " + WRITES
ABSENT = f"sha256:{7:064x}"


@pytest.fixture
def silent() -> Iterator[Registry]:
    """A registry that takes questions and does not answer them."""
    registry = Registry()
    registry.hold()
    yield registry
    registry.let_go()
    registry.close()


@pytest.fixture
def run(host: Host, activity_environment: Callable[..., Any]) -> Callable[..., Any]:
    def start(definition: JobDefinition, at: Host = host) -> asyncio.Task[Any]:
        environment = activity_environment()
        task = asyncio.ensure_future(environment.run(RunJob(at).run_job, definition))
        task.environment = environment
        return task

    return start


@pytest.fixture
def terminate(host: Host, activity_environment: Callable[..., Any]) -> Callable[..., Any]:
    def give(definition: JobDefinition, at: Host = host) -> Coroutine[Any, Any, Any]:
        order = TerminateOrder(job_id=definition.id, task_id=definition.task_id)
        return activity_environment().run(Control(at).terminate_job, order)

    return give


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Event, Event]]:
    """Holds the threads that read a file of this name, as a slow disk would."""
    reached, opened, real = threading.Event(), threading.Event(), os.read

    def read(descriptor: int, count: int) -> bytes:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "slow.csv":
            reached.set()
            assert opened.wait(60)
        return real(descriptor, count)

    monkeypatch.setattr(os, "read", read)
    yield reached, opened
    opened.set()


def record(at: Host, definition: JobDefinition) -> dict[str, Any]:
    return json.loads((at.storage.log_dir(definition) / "metadata.json").read_text())


async def running(at: Host, definition: JobDefinition) -> ContainerFacts:
    async def found() -> ContainerFacts | None:
        facts = await at.engine.containers.inspect(definition.id)
        return facts if facts is not None and facts.running else None

    return await eventually(found, "a running container")


async def nothing_left(at: Host, definition: JobDefinition) -> None:
    assert await at.engine.containers.inspect(definition.id) is None
    assert list(at.settings.volume_dir.iterdir()) == []
    assert [path for path in files_in(at.storage.state_dir) if definition.id in path] == []


# --- stopped at every stage ---


async def test_a_job_is_stopped_while_its_image_is_pulled(
    run: Callable[..., Any],
    job: Callable[..., Any],
    settings: AgentSettings,
    silent: Registry,
    terminate: Callable[..., Any],
) -> None:
    at = Host.of(settings.model_copy(update={"docker_proxy": silent.prefix}))
    definition = job(WRITES, image_sha=ABSENT)
    task = run(definition, at)
    await eventually(lambda: silent.requests, "a question to the registry")
    await terminate(definition, at)
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.CANCELLED, None)
    assert record(at, definition)["cancelled"] is True
    await nothing_left(at, definition)


async def test_a_job_is_stopped_while_its_inputs_are_copied(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    gate: tuple[Event, Event],
    terminate: Callable[..., Any],
) -> None:
    reached, opened = gate
    opened.set()
    early = job("mkdir output; echo a,b > output/slow.csv", action="early")
    await run(early)
    opened.clear()
    reached.clear()
    definition = job(WRITES, input_job_ids=(early.id,))
    task = run(definition)
    await asyncio.to_thread(reached.wait, 60)
    await terminate(definition)
    assert await host.engine.containers.inspect(definition.id) is None
    opened.set()
    assert (await task).ending is Ending.CANCELLED
    await nothing_left(host, definition)


async def test_a_stop_while_results_are_published_leaves_them_whole(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    terminate: Callable[..., Any],
) -> None:
    reached, opened = asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **options: Any) -> JobOutcome:
        reached.set()
        await opened.wait()
        return await finalize(*args, **options)

    monkeypatch.setattr(attempt, "finalize", slow)
    definition = job(WRITES)
    task = run(definition)
    await reached.wait()
    await terminate(definition)
    opened.set()
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
    for area in (host.storage.high("wksp"), host.storage.medium("wksp")):
        assert (area / "output/one.csv").read_text() == "a,b\n"
    manifest = json.loads((host.storage.medium("wksp") / "metadata/manifest.json").read_text())
    assert list(manifest["outputs"]) == ["output/one.csv"]
    assert record(host, definition)["cancelled"] is False
    await nothing_left(host, definition)


@pytest.mark.spec("agent:17", "agent:42")
async def test_a_volume_that_was_never_completed_goes_with_its_cancelled_job(
    job: Callable[..., Any], host: Host, activity_environment: Callable[..., Any]
) -> None:
    definition = job(WRITES)
    volume = host.storage.volume(definition.id)
    volume.mkdir(parents=True)
    (volume / "half").touch()
    host.storage.unfinished(definition.id).mkdir()
    order = DiscardOrder(definition=definition)
    await activity_environment().run(Control(host).discard_job, order)
    assert (record(host, definition)["cancelled"], record(host, definition)["exit_code"]) == (
        True,
        "None",
    )
    assert files_in(host.storage.log_dir(definition)) == ["metadata.json"]
    await nothing_left(host, definition)


@pytest.mark.spec("agent:52")
async def test_an_order_to_terminate_a_job_that_never_came_records_nothing(
    job: Callable[..., Any], host: Host, terminate: Callable[..., Any]
) -> None:
    definition = job(WRITES)
    await terminate(definition)
    assert await host.engine.containers.inspect(definition.id) is None
    assert files_in(host.settings.high_privacy) == []
    assert not host.storage.logs.exists()


# --- what others notice ---


async def test_a_pull_that_hangs_delays_no_other_job(
    run: Callable[..., Any], job: Callable[..., Any], settings: AgentSettings, silent: Registry
) -> None:
    at = Host.of(settings.model_copy(update={"docker_proxy": silent.prefix}))
    waiting = run(job(WRITES, image_sha=ABSENT), at)
    await eventually(lambda: silent.requests, "a question to the registry")
    outcomes = await asyncio.gather(*(run(job(WRITES, workspace=f"ws{n}"), at) for n in range(3)))
    assert [(each.ending, each.exit_code) for each in outcomes] == [(Ending.COMPLETED, 0)] * 3
    assert not waiting.done()
    waiting.environment.cancel()
    assert (await waiting).ending is Ending.CANCELLED


async def test_a_slow_copy_delays_no_other_job(
    run: Callable[..., Any], job: Callable[..., Any], gate: tuple[Event, Event]
) -> None:
    reached, opened = gate
    opened.set()
    early = job("mkdir output; echo a,b > output/slow.csv", action="early")
    await run(early)
    opened.clear()
    reached.clear()
    slow = run(job(WRITES, input_job_ids=(early.id,)))
    await asyncio.to_thread(reached.wait, 60)
    assert (await run(job(WRITES, workspace="other"))).exit_code == 0
    assert not slow.done()
    opened.set()
    assert (await slow).exit_code == 0


async def test_an_image_is_not_pulled_onto_a_disk_that_it_would_fill(
    run: Callable[..., Any], job: Callable[..., Any], settings: AgentSettings, silent: Registry
) -> None:
    changes = {"docker_proxy": silent.prefix, "new_image_mb": 2**40}
    at = Host.of(settings.model_copy(update=changes), Pauses(early_tries=()))
    definition = job(image="ghcr.io/opensafely-core/never-heard-of:v1", image_sha=ABSENT)
    outcome = await run(definition, at)
    assert (outcome.ending, outcome.fault) == (Ending.RETURNED, Fault.DISK_FULL)
    assert silent.requests == []
    assert at.closures.images == (image_key(definition.image, ABSENT),)
    assert not at.closures.is_closed


async def test_only_jobs_of_an_image_that_cannot_be_pulled_are_given_back(
    run: Callable[..., Any], job: Callable[..., Any], settings: AgentSettings
) -> None:
    nobody_listens = {"docker_proxy": "127.0.0.1:9/opensafely-core"}
    pauses = Pauses(early_tries=(), pull=0.01)
    at = Host.of(settings.model_copy(update=nobody_listens), pauses)
    definition = job(image="ghcr.io/opensafely-core/never-heard-of:v1", image_sha=ABSENT)
    for _ in range(2):
        outcome = await run(definition, at)
        assert (outcome.ending, outcome.fault) == (Ending.RETURNED, Fault.IMAGE_PULL_FAILED)
    assert at.closures.images == (image_key(definition.image, ABSENT),)
    assert (at.closures.faults, at.closures.is_closed) == ((), False)
    assert (await run(job("true", output_spec={}), at)).exit_code == 0


# --- how a job stands ---


@pytest.mark.spec("agent:15", "agent:28")
async def test_a_job_of_which_nothing_is_here_begins_and_is_left_alone_while_it_runs(
    run: Callable[..., Any],
    job: Callable[..., Any],
    settings: AgentSettings,
    docker_client: DockerClient,
) -> None:
    host = Host.of(settings, Pauses(job_heartbeat=0.02))
    definition = job(WAITS)
    task = run(definition, host)
    before = await running(host, definition)
    beats = task.environment.heartbeats

    def stages() -> list[Stage]:
        return [detail.stage for beat in beats for detail in beat]

    seen = len(stages())
    await eventually(lambda: len(stages()) > seen + 20, "more heartbeats")
    assert set(stages()[-10:]) == {Stage.EXECUTING}
    assert stages()[0] is Stage.PREPARING
    after = await host.engine.containers.inspect(definition.id)
    assert (after.id, after.started_at_ns) == (before.id, before.started_at_ns)
    (host.storage.volume(definition.id) / "go").touch()
    assert (await task).ending is Ending.COMPLETED
    assert stages() == sorted(stages(), key=list(Stage).index)


async def test_the_claim_to_a_job_is_kept_until_its_result_has_arrived(
    job: Callable[..., Any], host: Host, activity_environment: Callable[..., Any]
) -> None:
    definition = job(WRITES)
    tokens, kept = host.storage.state_dir / "tokens", []

    async def as_the_worker_does(definition: JobDefinition) -> JobOutcome:
        outcome = await RunJob(host).run_job(definition)
        # Here the worker sends it: an agent killed now must be able to hand the job back.
        kept.extend(files_in(tokens))
        return outcome

    environment = activity_environment()
    await asyncio.create_task(environment.run(as_the_worker_does, definition))
    assert kept == [definition.task_id]
    await nothing_left(host, definition)
