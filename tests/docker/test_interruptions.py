"""What becomes of jobs whose engine or host goes away beneath them, or whose container does.

The engine is one of this test's own, really killed and started again; the boot id of the host is a
file of the test's own.
"""

import asyncio
import dataclasses
import json
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from activities.agent.run_job import RunJob
from rap.egress import Ending, ExitNote, Fault, Interruption, JobOutcome, Stage
from rap.models import JobDefinition
from tests.docker.busybox import IMAGE
from tests.docker.conftest import eventually
from tests.docker.engines import engine_with
from tests.docker.private_engine import PrivateEngine
from worker_agent import attempt, execution
from worker_agent.egress_guard import AgentRestart
from worker_agent.engine.container import container_config
from worker_agent.host import Host
from worker_agent.pauses import Pauses
from worker_agent.state.runs import Ground, RunRecord
from worker_agent.workspace.finalize import finalize
from worker_agent.workspace.prepare import prepare

pytestmark = pytest.mark.docker

BEGINS = "mkdir -p output; echo a,b >> output/one.csv; echo begun; "
WAITS = f"{BEGINS}while ! [ -e /workspace/go ]; do sleep 0.1; done"
ENDS_WELL_WHEN_TOLD = f"trap 'exit 0' TERM; {WAITS}"


@pytest_asyncio.fixture
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PrivateEngine]:
    own = PrivateEngine(tmp_path_factory.mktemp("engine"))
    try:
        await asyncio.to_thread(own.start)
        await asyncio.to_thread(own.build_image)
        yield own
    finally:
        await asyncio.to_thread(own.remove)


@pytest.fixture
def boot_id(tmp_path: Path) -> Path:
    path = tmp_path / "boot_id"
    path.write_text("first\n")
    return path


@pytest.fixture
def agent_env(agent_env: dict[str, str], boot_id: Path) -> dict[str, str]:
    return {**agent_env, "BOOT_ID_FILE": str(boot_id)}


@pytest.fixture
def host(host: Host, engine: PrivateEngine) -> Host:
    return dataclasses.replace(
        host,
        engine=engine_with(base_url=engine.url),
        pauses=Pauses(early_tries=(0.05,) * 5, late_tries=(0.05, 0.05)),
    )


@pytest.fixture
def run(host: Host, activity_environment: Callable[..., Any]) -> Callable[..., Any]:
    """Runs an attempt; the environment is for shutting its agent down."""

    def start(definition: JobDefinition, at: Host = host) -> asyncio.Task[Any]:
        environment = activity_environment()
        task = asyncio.ensure_future(environment.run(RunJob(at).run_job, definition))
        task.environment = environment
        return task

    return start


async def has_begun(host: Host, definition: JobDefinition) -> None:
    output = host.storage.volume(definition.attempt_name) / "output/one.csv"
    await eventually(
        lambda: (
            [each.stage for each in host.jobs.reported()] == [Stage.EXECUTING]
            and output.exists()
            and output.read_text()
        ),
        "the program has begun",
    )


def record(host: Host, definition: JobDefinition) -> dict[str, Any]:
    return json.loads((host.storage.log_dir(definition) / "metadata.json").read_text())


async def assert_interrupted(
    host: Host, definition: JobDefinition, outcome: JobOutcome, by: Interruption
) -> None:
    """Nothing is kept but the record, and nothing of the attempt is left."""
    assert (outcome.ending, outcome.interruption) == (Ending.INTERRUPTED, by)
    assert (outcome.fault, outcome.exit_code, outcome.exit_note) == (None, None, None)
    assert record(host, definition)["error"]["exception"] == by.value
    assert record(host, definition)["outputs"] == {}
    assert not host.storage.high("wksp").exists()
    assert not host.storage.volume(definition.attempt_name).exists()
    assert await host.engine.containers.inspect(definition.id) is None


async def assert_next_attempt_succeeds(
    host: Host, definition: JobDefinition, run: Callable[..., Any]
) -> None:
    """Its outputs are those of a run without faults: of one program in a fresh volume."""
    following = definition.model_copy(update={"task_id": f"{definition.id}-002"})
    task = run(following)
    await has_begun(host, following)
    (host.storage.volume(following.attempt_name) / "go").touch()
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
    assert (host.storage.high("wksp") / "output/one.csv").read_text() == "a,b\n"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("program", [WAITS, ENDS_WELL_WHEN_TOLD])
async def test_a_job_whose_engine_is_started_again_is_interrupted_whatever_its_program_makes_of_it(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    engine: PrivateEngine,
    program: str,
    how: signal.Signals,
) -> None:
    definition = job(program)
    task = run(definition)
    await has_begun(host, definition)
    await asyncio.to_thread(engine.restart, how)
    await assert_interrupted(host, definition, await task, Interruption.ENGINE_RESTARTED)
    await assert_next_attempt_succeeds(host, definition, run)


async def test_a_job_that_nobody_watched_when_its_engine_was_started_again_is_interrupted(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, engine: PrivateEngine
) -> None:
    definition = job(WAITS)
    task = run(definition)
    await has_begun(host, definition)
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task
    await asyncio.to_thread(engine.restart, signal.SIGTERM)
    outcome = await run(definition)
    await assert_interrupted(host, definition, outcome, Interruption.ENGINE_RESTARTED)


async def test_a_job_is_not_given_up_by_the_next_agent_while_the_engine_is_away(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, engine: PrivateEngine
) -> None:
    definition = job(WAITS)
    task = run(definition)
    await has_begun(host, definition)
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task
    await asyncio.to_thread(engine.end, signal.SIGKILL)
    task = run(definition)
    await asyncio.sleep(1)  # many times the patience above
    assert not task.done()
    await asyncio.to_thread(engine.start)
    await assert_interrupted(host, definition, await task, Interruption.ENGINE_RESTARTED)


async def test_a_start_that_the_engine_took_along_is_an_interruption(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, engine: PrivateEngine
) -> None:
    """Its program may have run, though the engine says that it never did."""
    definition = job(WAITS)
    client = engine.client()
    made = client.containers.create(
        IMAGE, "true", name=f"os-job-{definition.id}", labels={"task": definition.task_id}
    )
    client.close()
    before = Ground(boot_id="first", engine=await host.engine.system.run())
    host.runs.write(definition.task_id, RunRecord(container_id=made.id, ground=before))
    await asyncio.to_thread(engine.restart, signal.SIGKILL)
    outcome = await run(definition)
    assert outcome.ending is Ending.INTERRUPTED
    assert await host.engine.containers.inspect(definition.id) is None


async def test_a_start_that_its_agent_did_not_live_to_see_is_made_again_in_a_fresh_volume(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, engine: PrivateEngine
) -> None:
    definition = job(BEGINS)
    client = engine.client()
    made = client.containers.create(
        IMAGE, "true", name=f"os-job-{definition.id}", labels={"task": definition.task_id}
    )
    client.close()
    await prepare(definition, host.storage, host.git, host.settings)
    (host.storage.volume(definition.attempt_name) / "output").mkdir()
    (host.storage.volume(definition.attempt_name) / "output/one.csv").write_text("used\n")
    before = Ground(boot_id="first", engine=await host.engine.system.run())
    host.runs.write(definition.task_id, RunRecord(container_id=made.id, ground=before))
    outcome = await run(definition)
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
    assert (host.storage.high("wksp") / "output/one.csv").read_text() == "a,b\n"


async def test_a_job_on_a_host_that_lost_its_power_is_interrupted(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    engine: PrivateEngine,
    boot_id: Path,
) -> None:
    definition = job(WAITS)
    task = run(definition)
    await has_begun(host, definition)
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task
    await asyncio.to_thread(engine.lose_power)
    boot_id.write_text("second\n")
    await asyncio.to_thread(engine.start)
    facts = await host.engine.containers.inspect(definition.id)
    assert facts is not None
    assert facts.exit_code == 255
    outcome = await run(definition)
    await assert_interrupted(host, definition, outcome, Interruption.HOST_REBOOTED)
    await assert_next_attempt_succeeds(host, definition, run)


async def test_a_program_that_runs_on_while_its_agents_host_is_started_again_is_not_interrupted(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, boot_id: Path
) -> None:
    """Its engine is on another host."""
    definition = job(WAITS)
    task = run(definition)
    await has_begun(host, definition)
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task
    boot_id.write_text("second\n")
    task = run(definition)
    await eventually(lambda: host.runs.latest(definition.task_id).ground.boot_id == "second")
    (host.storage.volume(definition.attempt_name) / "go").touch()
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)


@pytest.mark.parametrize(("sent", "code"), [("KILL", 137), ("TERM", 143)])
async def test_a_container_that_somebody_kills_while_the_engine_lives_ends_with_its_exit_code(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    engine: PrivateEngine,
    sent: str,
    code: int,
) -> None:
    definition = job(WAITS)
    task = run(definition)
    await has_begun(host, definition)
    client = engine.client()
    client.containers.get(f"os-job-{definition.id}").kill(sent)
    client.close()
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, code)
    assert outcome.exit_note is (ExitNote.KILLED if sent == "KILL" else None)


async def test_a_program_that_had_ended_by_itself_is_not_interrupted_by_what_comes_later(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    engine: PrivateEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    definition = job(BEGINS)
    reached, held = asyncio.Event(), asyncio.Event()

    async def slow(*arguments: Any) -> JobOutcome:
        reached.set()
        await held.wait()
        return await finalize(*arguments)

    monkeypatch.setattr(attempt, "finalize", slow)
    task = run(definition)
    await reached.wait()
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task
    held.set()
    await asyncio.to_thread(engine.restart, signal.SIGTERM)
    outcome = await run(definition)
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)


@pytest.mark.spec("agent:38")
async def test_a_job_whose_running_container_is_removed_by_hand_is_interrupted(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, engine: PrivateEngine
) -> None:
    definition = job(WAITS)
    task = run(definition)
    await has_begun(host, definition)
    client = engine.client()
    client.containers.get(f"os-job-{definition.id}").remove(force=True)
    client.close()
    await assert_interrupted(host, definition, await task, Interruption.CONTAINER_REMOVED)
    await assert_next_attempt_succeeds(host, definition, run)


async def test_a_job_whose_container_was_removed_while_no_agent_was_there_is_interrupted(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, engine: PrivateEngine
) -> None:
    definition = job(WAITS)
    task = run(definition)
    await has_begun(host, definition)
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task
    client = engine.client()
    client.containers.get(f"os-job-{definition.id}").remove(force=True)
    client.close()
    outcome = await run(definition)
    await assert_interrupted(host, definition, outcome, Interruption.CONTAINER_REMOVED)


@pytest.mark.parametrize("made_again", [False, True])
async def test_a_job_whose_volume_is_deleted_while_it_runs_is_interrupted(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, made_again: bool
) -> None:
    definition = job(f"{BEGINS}while [ -e /workspace/output ]; do sleep 0.1; done", output_spec={})
    task = run(definition)
    await has_begun(host, definition)
    volume = host.storage.volume(definition.attempt_name)
    shutil.rmtree(volume)
    if made_again:
        volume.mkdir()
    await assert_interrupted(host, definition, await task, Interruption.VOLUME_GONE)


async def test_a_job_whose_volume_is_deleted_after_its_end_is_interrupted(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    definition = job(BEGINS)

    async def too_late(*arguments: Any) -> JobOutcome:
        shutil.rmtree(host.storage.volume(definition.attempt_name))
        return await finalize(*arguments)

    monkeypatch.setattr(attempt, "finalize", too_late)
    outcome = await run(definition)
    await assert_interrupted(host, definition, outcome, Interruption.VOLUME_GONE)


async def test_a_container_that_cannot_be_started_is_no_interruption(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configured = container_config

    def without_network(*arguments: Any, **named: Any) -> dict[str, Any]:
        config = configured(*arguments, **named)
        return {**config, "HostConfig": config["HostConfig"] | {"NetworkMode": "no-such-network"}}

    monkeypatch.setattr(execution, "container_config", without_network)
    outcome = await run(job())
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.CONTAINER_REFUSED)
