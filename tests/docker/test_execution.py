"""What a job's container may do, and what is told about its end: real containers, real limits."""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
from docker import DockerClient

from activities.agent.control import Control
from activities.agent.run_job import RunJob
from rap.egress import Ending, ExitNote, Fault, Stage
from rap.messages.jobs import TerminateOrder
from rap.models import JobDefinition
from rap.settings import AgentSettings
from tests.docker.conftest import IMPATIENT, PATIENCE, eventually
from tests.docker.registry import Registry
from worker_agent import execution
from worker_agent.egress_guard import AgentRestart
from worker_agent.engine.container import DatabaseHost
from worker_agent.engine.container_calls import Containers
from worker_agent.engine.facts import ContainerFacts, EndEvents
from worker_agent.host import Host
from worker_agent.pauses import Pauses
from worker_agent.state.runs import RunRecord

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("image")]

MEMORY = "16M"
WAIT = "while ! [ -e /workspace/go ]; do sleep 0.05; done"
GREEDY = "x=a; while :; do x=$x$x; done"
WRITES = "mkdir output; echo a,b > output/one.csv"


@pytest.fixture
def run(host: Host, activity_environment: Callable[..., Any]) -> Callable[..., Any]:
    def start(definition: JobDefinition, at: Host = host) -> asyncio.Task[Any]:
        environment = activity_environment()
        task = asyncio.ensure_future(environment.run(RunJob(at).run_job, definition))
        task.environment = environment
        return task

    return start


@pytest.fixture
def with_settings(settings: AgentSettings) -> Callable[..., Any]:
    """Makes hosts whose settings differ."""

    def make(**changes: Any) -> Host:
        return Host.of(settings.model_copy(update=changes), IMPATIENT)

    return make


def metadata(host: Host, definition: JobDefinition) -> dict[str, Any]:
    return json.loads((host.storage.log_dir(definition) / "metadata.json").read_text())


def log_of(host: Host, definition: JobDefinition) -> str:
    return (host.storage.log_dir(definition) / "logs.txt").read_text()


def let_go_on(host: Host, definition: JobDefinition, name: str = "go") -> None:
    (host.storage.volume(definition.id) / name).touch()


async def watched(host: Host, definition: JobDefinition) -> ContainerFacts:
    """The container of a job, as soon as it is being watched."""

    def found() -> ContainerFacts | None:
        job = host.jobs.find(definition.id, definition.task_id)
        return job.container if job else None

    return await eventually(found, "a running container")


async def oom_seen(host: Host, definition: JobDefinition, container: ContainerFacts) -> None:
    await eventually(
        lambda: host.runs.read(definition.task_id, container.id).oom_kills,
        "a process out of memory",
    )


async def leave(task: Any) -> None:
    """The agent shuts down."""
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task


async def test_a_fork_bomb_hits_its_limit_and_nobody_else(
    run: Callable[..., Any], job: Callable[..., Any], with_settings: Callable[..., Any]
) -> None:
    at = with_settings(container_pids_limit=32)
    # The shell stays for a while, and needs no process for that.
    bombing = "mkfifo /workspace/p; b() { b | b & }; b; read -t 1 x <> /workspace/p; exit 3"
    bomb = job(bombing, memory_limit="64M", cpu_count=0.5, output_spec={})
    # Once no more processes are to be had, only what the shell does by itself still works.
    greedy = "(while :; do sleep 1000 & done); set -- /proc/[0-9]*; echo processes $#; exit 3"
    counted = job(greedy, output_spec={})
    tasks = [run(each, at) for each in (bomb, counted)]
    calm = run(job("sleep 0.1; true | true", output_spec={}), at)
    assert (await calm).exit_code == 0
    await asyncio.gather(*tasks)
    assert "can't fork: Resource temporarily unavailable" in log_of(at, bomb)
    assert "can't fork: Resource temporarily unavailable" in log_of(at, counted)
    processes = log_of(at, counted).partition(" processes ")[2].split()[0]
    assert 16 < int(processes) <= 32


async def test_a_job_gets_its_memory_and_no_swap_on_top(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(WAIT, memory_limit=MEMORY, output_spec={})
    task = run(definition)
    container = await watched(host, definition)
    limits = container.inspection["HostConfig"]
    let_go_on(host, definition)
    assert (await task).exit_code == 0
    assert limits["Memory"] == limits["MemorySwap"] == 16 * 2**20


TRIES = (
    "exec 2>&1; cp /bin/busybox /bin/mine && echo root-written; cd /tmp || exit 1; "
    "for d in $HOME /tmp /var/tmp /run /dev/shm; do echo x > $d/file && echo $d; done; "
    "printf '#!/bin/sh\\necho ran-from-tmp\\n' > /tmp/run; chmod +x /tmp/run; /tmp/run; "
    "grep -c ' /tmp tmpfs .*nosuid' /proc/mounts"
)


@pytest.mark.parametrize("user", [0, 10001])
async def test_a_read_only_image_leaves_the_usual_places_to_write_to(
    run: Callable[..., Any], job: Callable[..., Any], with_settings: Callable[..., Any], user: int
) -> None:
    at = with_settings(read_only_images=("busybox",), docker_user_id=user, docker_group_id=user)
    definition = job(TRIES, output_spec={}, memory_limit=MEMORY)
    await run(definition, at)
    seen = log_of(at, definition)
    lines = [line.split(" ", 1)[1] for line in seen.splitlines() if line[:2] == "20"]
    assert "root-written" not in lines
    assert [each for each in lines if each.startswith("/")] == [
        "/tmp",
        "/tmp",
        "/var/tmp",
        "/run",
        "/dev/shm",
    ]
    assert lines[-2:] == ["ran-from-tmp", "1"]


async def test_an_image_that_is_not_listed_may_write_to_its_own_files(
    run: Callable[..., Any], job: Callable[..., Any], with_settings: Callable[..., Any]
) -> None:
    at = with_settings(read_only_images=("*", "-busybox"))
    definition = job("cp /bin/busybox /bin/mine && echo root-written", output_spec={})
    assert (await run(definition, at)).exit_code == 0
    assert "root-written" in log_of(at, definition)


async def test_a_full_tmp_is_an_error_of_the_program_and_counts_to_its_memory(
    run: Callable[..., Any], job: Callable[..., Any], settings: AgentSettings
) -> None:
    strict = settings.model_copy(update={"read_only_images": ("busybox",)})
    at = Host.of(strict, Pauses(memory=0.05))
    fill = "dd if=/dev/zero of=/tmp/file bs=1M count=60; echo code $?; touch /workspace/filled"
    definition = job(f"{fill}; {WAIT}", memory_limit="64M", output_spec={})
    task = run(definition, at)
    await eventually((at.storage.volume(definition.id) / "filled").exists)
    await asyncio.sleep(0.3)  # several looks
    let_go_on(at, definition)
    outcome = await task
    assert (outcome.exit_code, outcome.exit_note) == (0, None)
    assert "No space left on device" in log_of(at, definition)
    assert "code 1" in log_of(at, definition)
    assert outcome.memory_peak_bytes >= 32 * 2**20


class DeafContainers:
    """Those of an engine that never hears of a lack of memory, as happens now and then."""

    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._containers, name)

    async def wait(self, job_id: str) -> ContainerFacts:
        ended = await self._containers.wait(job_id)
        return ended.model_copy(update={"oom_killed": False})

    async def end_of(self, container: ContainerFacts) -> EndEvents:
        events = await self._containers.end_of(container)
        return events.model_copy(update={"out_of_memory": False})


@pytest.mark.spec("agent:108")
@pytest.mark.parametrize("hears", [True, False])
async def test_every_program_that_outgrows_its_memory_is_told_so(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, hears: bool
) -> None:
    containers = (
        host.engine.containers
        if hears
        else cast("Containers", DeafContainers(host.engine.containers))
    )
    engine = dataclasses.replace(host.engine, containers=containers)
    at = dataclasses.replace(host, engine=engine)
    definitions = [job(f"{WAIT}; {GREEDY}", memory_limit=MEMORY) for _ in range(4)]
    tasks = [run(each, at) for each in definitions]
    for each in definitions:
        await watched(at, each)
    for each in definitions:
        let_go_on(at, each)
    outcomes = await asyncio.gather(*tasks)
    assert {(each.exit_code, each.exit_note) for each in outcomes} == {
        (137, ExitNote.OUT_OF_MEMORY)
    }
    assert {each.memory_limit_bytes for each in outcomes} == {16 * 2**20}
    assert all(15 * 2**20 <= each.memory_peak_bytes <= 16 * 2**20 for each in outcomes)
    for each in definitions:
        record = metadata(at, each)
        assert record["status_message"] == "Job ran out of memory (limit was 0.02GB)"
        assert record["oom_killed"] is True


async def test_a_lack_of_memory_that_made_a_program_fail_is_told_as_its_reason(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(f"{WAIT}; ({GREEDY}); exit 1", memory_limit=MEMORY)
    task = run(definition)
    await watched(host, definition)
    let_go_on(host, definition)
    outcome = await task
    assert (outcome.exit_code, outcome.exit_note) == (1, ExitNote.OUT_OF_MEMORY)
    message = metadata(host, definition)["status_message"]
    assert message == "Job ran out of memory (limit was 0.02GB)"


async def test_a_program_that_succeeds_in_spite_of_a_lack_of_memory_has_succeeded(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(f"{WAIT}; ({GREEDY}); {WRITES}", memory_limit=MEMORY)
    task = run(definition)
    await watched(host, definition)
    let_go_on(host, definition)
    outcome = await task
    assert (outcome.ending, outcome.exit_code, outcome.exit_note) == (Ending.COMPLETED, 0, None)
    record = metadata(host, definition)
    assert record["status_message"] == "Completed successfully"
    assert record["oom_killed"] is True


async def test_where_the_kernels_counters_are_out_of_sight_the_engine_is_believed(
    run: Callable[..., Any],
    job: Callable[..., Any],
    with_settings: Callable[..., Any],
    tmp_path: Path,
) -> None:
    at = with_settings(cgroup_root=tmp_path)
    # The engine hears of it a moment late, and forgets it if the container is gone by then.
    definition = job(f"({GREEDY}); sleep 1; exit 1", memory_limit=MEMORY)
    outcome = await run(definition, at)
    assert (outcome.exit_code, outcome.exit_note) == (1, ExitNote.OUT_OF_MEMORY)
    assert outcome.memory_peak_bytes is None


async def test_what_was_seen_of_a_run_is_known_to_the_next_agent(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, settings: AgentSettings
) -> None:
    definition = job(f"({GREEDY}); {WAIT}; exit 1", memory_limit=MEMORY)
    task = run(definition)
    container = await watched(host, definition)
    await oom_seen(host, definition, container)
    await leave(task)
    let_go_on(host, definition)
    await host.engine.containers.wait(definition.id)
    second = Host.of(settings, IMPATIENT)
    assert second.runs.read(definition.task_id, container.id).oom_kills == 1
    outcome = await run(definition, second)
    assert (outcome.exit_code, outcome.exit_note) == (1, ExitNote.OUT_OF_MEMORY)
    assert outcome.memory_peak_bytes >= 15 * 2**20


async def test_the_word_of_the_agent_before_counts_when_the_engine_says_nothing(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(f"{WAIT}; exit 1", memory_limit=MEMORY)
    task = run(definition)
    container = await watched(host, definition)
    await leave(task)
    host.runs.write(definition.task_id, RunRecord(container_id=container.id, oom_kills=1))
    again = run(definition)
    await watched(host, definition)
    let_go_on(host, definition)
    assert (await again).exit_note is ExitNote.OUT_OF_MEMORY


@pytest.mark.spec("agent:107")
async def test_a_kill_is_never_taken_for_a_lack_of_memory(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(f"({GREEDY}); {WAIT}", memory_limit=MEMORY)
    task = run(definition)
    container = await watched(host, definition)
    await oom_seen(host, definition, container)
    await host.engine.containers.kill(container.id)
    outcome = await task
    assert (outcome.exit_code, outcome.exit_note) == (137, ExitNote.KILLED)
    message = metadata(host, definition)["status_message"]
    assert message == "Job killed by OpenSAFELY admin or memory limits"


@pytest.mark.spec("agent:47")
async def test_a_cancel_is_never_taken_for_a_lack_of_memory(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(f"({GREEDY}); {WAIT}", memory_limit=MEMORY)
    task = run(definition)
    container = await watched(host, definition)
    await oom_seen(host, definition, container)
    task.environment.cancel()
    outcome = await task
    assert (outcome.ending, outcome.exit_code, outcome.exit_note) == (Ending.CANCELLED, 137, None)
    assert metadata(host, definition)["status_message"] == "Job cancelled by system"


async def test_a_job_is_stopped_when_its_time_is_over_and_keeps_its_outputs(
    run: Callable[..., Any], job: Callable[..., Any], with_settings: Callable[..., Any]
) -> None:
    at = with_settings(job_run_time_limit=1)
    definition = job(f"{WRITES}; sleep 1000")
    async with asyncio.timeout(PATIENCE):
        outcome = await run(definition, at)
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 137)
    assert (outcome.exit_note, outcome.run_time_limit_s) == (ExitNote.OUT_OF_TIME, 1)
    message = metadata(at, definition)["status_message"]
    assert message == "Job ran longer than this backend allows (limit was 1 second)"
    assert (at.storage.high("wksp") / "output/one.csv").exists()
    assert not list((at.storage.state_dir / "runs").iterdir())


async def test_the_time_of_a_job_goes_on_over_a_restart_of_the_agent(
    run: Callable[..., Any],
    job: Callable[..., Any],
    with_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at = with_settings(job_run_time_limit=3600)
    definition = job(WAIT)
    task = run(definition, at)
    await watched(at, definition)
    await leave(task)
    at_start = (await at.engine.containers.inspect(definition.id)).started_at_ns / 1e9
    later = SimpleNamespace(time=lambda: at_start + 3601)
    monkeypatch.setattr(execution, "time", later)
    async with asyncio.timeout(PATIENCE):
        outcome = await run(definition, with_settings(job_run_time_limit=3600))
    assert (outcome.exit_code, outcome.exit_note) == (137, ExitNote.OUT_OF_TIME)


async def test_an_agent_that_died_while_it_stopped_a_late_job_has_said_why(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(WAIT)
    task = run(definition)
    container = await watched(host, definition)
    await leave(task)
    host.runs.write(definition.task_id, RunRecord(container_id=container.id, run_time_limit_s=5))
    await host.engine.containers.kill(container.id)
    await host.engine.containers.wait(definition.id)
    assert (await run(definition)).exit_note is ExitNote.OUT_OF_TIME


async def test_a_job_that_ends_while_it_is_being_stopped_has_ended_by_itself(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(f"{WAIT}; {WRITES}")
    task = run(definition)
    container = await watched(host, definition)
    host.runs.write(definition.task_id, RunRecord(container_id=container.id, run_time_limit_s=5))
    let_go_on(host, definition)
    outcome = await task
    assert (outcome.exit_code, outcome.exit_note, outcome.run_time_limit_s) == (0, None, None)


async def test_a_job_within_its_time_is_left_alone(
    run: Callable[..., Any], job: Callable[..., Any], with_settings: Callable[..., Any]
) -> None:
    outcome = await run(job(WRITES), with_settings(job_run_time_limit=3600))
    assert (outcome.exit_code, outcome.exit_note) == (0, None)


@pytest.fixture
def database(docker_client: DockerClient, image: str) -> Iterator[Any]:
    """A network with somebody who answers on it, as the backend's operators would set it up."""
    name = f"rap-test-{uuid4().hex[:8]}"
    network = docker_client.networks.create(name, driver="bridge", internal=True)
    server = docker_client.containers.create(
        image,
        ["/bin/busybox", "sh", "-c", "while :; do echo hello | nc -l -p 1433; done"],
        network=name,
        init=True,
    )
    server.start()
    server.reload()
    address = server.attrs["NetworkSettings"]["Networks"][name]["IPAddress"]
    yield SimpleNamespace(network=name, address=address)
    server.remove(force=True, v=True)
    network.remove()


@pytest.mark.spec("agent:91")
async def test_a_database_job_reaches_its_database_by_name_and_has_no_name_server(
    run: Callable[..., Any],
    job: Callable[..., Any],
    with_settings: Callable[..., Any],
    database: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEFAULT_DATABASE_URL", "mssql://user:pw@db.example.test:1433/data")

    async def found(url: str) -> DatabaseHost:
        return DatabaseHost(name="db.example.test", address=database.address)

    monkeypatch.setattr(execution, "resolve", found)
    at = with_settings(database_access_network=database.network)
    script = "nc db.example.test 1433 < /dev/null; cat /etc/hosts; grep nameserver /etc/resolv.conf"
    definition = job(script, allow_database_access=True, database_name="default", output_spec={})
    await run(definition, at)
    seen = log_of(at, definition)
    assert " hello" in seen
    assert f"{database.address}\tdb.example.test" in seen
    # The engine's own resolver, which knows the containers of this network; whatever else it is
    # asked it passes on to an address where nobody is.
    servers = [line.split("nameserver ")[1] for line in seen.splitlines() if "nameserver" in line]
    assert servers == ["127.0.0.11"]
    document = metadata(at, definition)["container_metadata"]
    assert document["HostConfig"]["Dns"] == ["192.0.2.0"]


@pytest.mark.spec("agent:90", "agent:92")
@pytest.mark.parametrize("dummy", [True, False])
async def test_without_access_to_a_real_database_there_is_no_network(
    run: Callable[..., Any],
    job: Callable[..., Any],
    with_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    dummy: bool,
) -> None:
    monkeypatch.setenv("DEFAULT_DATABASE_URL", "mssql://user:pw@10.0.0.1/data")
    at = with_settings(using_dummy_data_backend=dummy)
    definition = job(
        "ls /sys/class/net; echo url:$DATABASE_URL.; ip route",
        allow_database_access=dummy,
        database_name="default",
        output_spec={},
    )
    assert (await run(definition, at)).exit_code == 0
    lines = [line.split(" ", 1)[1] for line in log_of(at, definition).splitlines() if "Z " in line]
    assert lines == ["lo", "url:."]


@pytest.fixture
def hanging_registry() -> Iterator[Registry]:
    """A registry that takes questions and does not answer them."""
    registry = Registry()
    registry.hold()
    yield registry
    registry.let_go()
    registry.close()


async def test_a_kill_waits_neither_for_pulls_that_hang_nor_for_jobs_that_prepare(
    run: Callable[..., Any],
    job: Callable[..., Any],
    with_settings: Callable[..., Any],
    hanging_registry: Registry,
    activity_environment: Callable[..., Any],
) -> None:
    # With as many pulls as there may be at a time.
    at = with_settings(docker_proxy=hanging_registry.prefix, agent_max_jobs=6)
    preparing = [run(job(image_sha=f"sha256:{number:064x}"), at) for number in range(10)]
    await eventually(lambda: len(hanging_registry.requests) >= 10, "ten questions to the registry")
    definition = job(WAIT)
    task = run(definition, at)
    await watched(at, definition)
    order = TerminateOrder(job_id=definition.id, task_id=definition.task_id)
    async with asyncio.timeout(10):  # the engine gives such a pull up after fifteen seconds
        await activity_environment().run(Control(at).terminate_job, order)
        assert (await task).ending is Ending.CANCELLED
    assert await at.engine.containers.inspect(definition.id) is None
    assert not [each for each in preparing if each.done()]
    assert {each.progress.stage for each in at.jobs.reported()} == {Stage.PREPARING}
    for each in preparing:
        each.environment.cancel()
    outcomes = await asyncio.gather(*preparing)
    assert {each.ending for each in outcomes} == {Ending.CANCELLED}


async def test_a_database_job_is_given_back_while_its_network_is_absent(
    run: Callable[..., Any],
    job: Callable[..., Any],
    with_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEFAULT_DATABASE_URL", "mssql://user:pw@10.0.0.1/data")
    at = with_settings(database_access_network="rap-no-such-network")
    definition = job(allow_database_access=True, database_name="default")
    outcome = await run(definition, at)
    assert (outcome.ending, outcome.fault) == (Ending.RETURNED, Fault.DATABASE_NETWORK_MISSING)
    assert at.closures.faults == (Fault.DATABASE_NETWORK_MISSING,)
    assert not at.closures.is_closed
    assert (await run(job("true", output_spec={}), at)).exit_code == 0
