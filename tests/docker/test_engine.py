"""The engine's calls, against a real engine; its absence, against sockets that stand for it."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from rap.egress import Fault
from rap.errors import PermanentFault, TransientFault
from rap.models import JobDefinition
from rap.settings import AgentSettings
from tests.docker.engines import engine_with
from worker_agent.engine.container import container_config
from worker_agent.engine.docker import Engine

pytestmark = pytest.mark.docker


@pytest.fixture
def engine() -> Engine:
    return engine_with()


@pytest.fixture
def start(
    engine: Engine, settings: AgentSettings, job: Callable[..., Any], tmp_path: Path
) -> Callable[..., Any]:
    """Starts a container as the agent does; the job's definition."""

    async def begin(
        script: str, host_config: dict[str, str] | None = None, **changes: Any
    ) -> JobDefinition:
        definition = job(script, **changes)
        config = container_config(
            definition, settings, image=definition.image, mount_source=tmp_path, secrets={}
        )
        config["HostConfig"] |= host_config or {}
        await engine.containers.start(definition.id, config)
        return definition

    return begin


async def test_the_engine_tells_its_version(engine: Engine) -> None:
    assert (await engine.system.version())[0].isdigit()


async def test_a_job_without_container_has_none(engine: Engine) -> None:
    assert await engine.containers.inspect("never-was") is None
    assert await engine.containers.wait("never-was") is None


@pytest.mark.spec("agent:140")
async def test_killing_and_removing_what_is_gone_is_harmless(engine: Engine) -> None:
    await engine.containers.kill("os-job-never-was")
    await engine.containers.remove("os-job-never-was")


@pytest.mark.spec("agent:19", "agent:20")
async def test_a_container_is_waited_for_and_tells_how_it_ended(
    engine: Engine, start: Callable[..., Any]
) -> None:
    definition = await start("sleep 0.5; exit 3")
    before = await engine.containers.inspect(definition.id)
    after = await engine.containers.wait(definition.id)
    assert before.running
    assert (after.running, after.exit_code, after.id) == (False, 3, before.id)
    assert after.finished_at_ns > after.started_at_ns == before.started_at_ns
    assert after.task_id == definition.task_id


async def test_waiting_for_many_containers_does_not_hold_up_a_kill(
    start: Callable[..., Any], engine: Engine
) -> None:
    waited = engine_with(max_jobs=1)
    definitions = [await start("sleep 1000") for _ in range(3)]
    waits = [asyncio.create_task(waited.containers.wait(each.id)) for each in definitions]
    await asyncio.sleep(0)
    for each in definitions:
        await waited.containers.kill(f"os-job-{each.id}")
    assert [facts.exit_code for facts in await asyncio.gather(*waits)] == [137, 137, 137]


async def test_a_second_start_of_a_job_leaves_the_first_container_alone(
    engine: Engine, start: Callable[..., Any], settings: AgentSettings, tmp_path: Path
) -> None:
    definition = await start("sleep 1000")
    first = await engine.containers.inspect(definition.id)
    config = container_config(
        definition, settings, image=definition.image, mount_source=tmp_path, secrets={}
    )
    await engine.containers.start(definition.id, config)
    assert (await engine.containers.inspect(definition.id)).id == first.id


async def test_a_container_that_cannot_be_started_leaves_no_trace(
    engine: Engine, start: Callable[..., Any], docker_client: DockerClient
) -> None:
    count = len(docker_client.containers.list(all=True))
    with pytest.raises(TransientFault, match="created but not started") as caught:
        await start("true", host_config={"NetworkMode": "rap-no-such-network"})
    assert caught.value.fault is Fault.CONTAINER_REFUSED
    assert len(docker_client.containers.list(all=True)) == count


@pytest.mark.spec("agent:99")
async def test_a_missing_image_is_never_pulled_by_the_start(
    engine: Engine, start: Callable[..., Any]
) -> None:
    with pytest.raises(PermanentFault) as caught:
        await start("true", image="ghcr.io/opensafely-core/no-such-image:v1")
    assert caught.value.fault is Fault.IMAGE_UNAVAILABLE


async def test_the_log_holds_both_streams_with_times(
    engine: Engine, start: Callable[..., Any], tmp_path: Path
) -> None:
    definition = await start("echo out; echo err >&2; printf no-newline")
    facts = await engine.containers.wait(definition.id)
    path = tmp_path / "log"
    await engine.containers.logs(facts.id, path)
    lines = path.read_text().splitlines()
    assert sorted(line.split(" ", 1)[1] for line in lines) == ["err", "no-newline", "out"]
    assert all(line[4] == "-" and "T" in line[:11] for line in lines)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_only_the_last_hundred_thousand_lines_of_a_log_are_kept(
    engine: Engine, start: Callable[..., Any], tmp_path: Path
) -> None:
    definition = await start("seq 1 100005", memory_limit="256M")
    facts = await engine.containers.wait(definition.id)
    path = tmp_path / "log"
    await engine.containers.logs(facts.id, path)
    lines = path.read_bytes().splitlines()
    assert len(lines) == 100_000
    assert lines[0].endswith(b" 6")
    assert lines[-1].endswith(b" 100005")


async def test_the_use_of_a_running_container_is_measured(
    engine: Engine, start: Callable[..., Any]
) -> None:
    definition = await start("while :; do :; done", cpu_count=0.5)
    name = f"os-job-{definition.id}"
    first = await engine.containers.usage(name)
    await asyncio.sleep(0.3)
    second = await engine.containers.usage(name)
    assert second.cpu_total_ns > first.cpu_total_ns
    assert second.at > first.at
    assert second.memory_bytes > 0
    await engine.containers.kill(name)
    await engine.containers.wait(definition.id)
    assert await engine.containers.usage(name) is None
    await engine.containers.remove(name)
    assert await engine.containers.usage(name) is None


@pytest.mark.spec("agent:155")
async def test_only_containers_of_jobs_are_listed_by_their_whole_id(
    engine: Engine,
    start: Callable[..., Any],
    docker_client: DockerClient,
    image: str,
    settings: AgentSettings,
    job: Callable[..., Any],
    tmp_path: Path,
) -> None:
    definition = await start("true")
    other = docker_client.containers.create(image, "true", labels={"job-runner": ""})
    try:
        found = await engine.containers.job_ids()
    finally:
        other.remove()
    assert definition.id in found
    assert other.name not in found


async def test_an_engine_that_is_away_is_a_passing_fault(tmp_path: Path) -> None:
    engine = engine_with(base_url=f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(TransientFault) as caught:
        await engine.system.version()
    assert caught.value.fault is Fault.ENGINE_UNAVAILABLE


@pytest.fixture
def silent_engine(tmp_path: Path) -> Iterator[str]:
    """The address of an engine that takes calls and never answers."""
    path = tmp_path / "silent.sock"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    taken = []

    def take() -> None:
        while True:
            try:
                taken.append(listener.accept()[0])
            except OSError:
                return

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    yield f"unix://{path}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in taken:
        connection.close()


@pytest.mark.spec("agent:25")
async def test_an_engine_that_does_not_answer_in_time_is_told_in_the_words_of_the_spec(
    silent_engine: str,
) -> None:
    engine = engine_with(base_url=silent_engine, inspect_limit=0.2)
    with pytest.raises(TransientFault) as caught:
        await engine.containers.inspect("j1")
    assert str(caught.value) == "docker timed out after 0.2s inspecting container os-job-j1"
    assert caught.value.fault is Fault.ENGINE_UNAVAILABLE
