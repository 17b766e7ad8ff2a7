"""The agent as a process, between a real Temporal server and a real Docker engine."""

import asyncio
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from signal import Signals
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from docker import DockerClient
from docker.models.containers import Container
from temporalio import workflow
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from infra.temporal.dev_server import DevServer
from rap import ids
from rap.contracts.workflows import REPORT
from rap.egress import AgentReport, Ending, Stage
from rap.messages.jobs import AttemptResult, JobAttempt, StopOrder, StopReason
from rap.models import JobDefinition, Study
from rap.temporal.ends import end_in
from tests.docker.conftest import PATIENCE, eventually, files_in
from tests.support import temporal
from workflows.job.workflow import JobWorkflow

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("image")]

RUNS = [Stage.EXECUTING]
STARTED = "agent.main loop started"
WRITES = "mkdir output; echo a,b > output/one.csv"
UID = 10_000
WAITS = "while ! [ -e /workspace/go ]; do sleep 0.1; done; mkdir output; echo a,b > output/one.csv"


@workflow.defn(name="Reports", sandboxed=False)
class Reports:
    """Stands for the workflow of a backend: keeps what agents report."""

    def __init__(self) -> None:
        self.kept: list[AgentReport] = []

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal(name=REPORT.name)
    def report(self, report: AgentReport) -> None:
        self.kept.append(report)

    @workflow.query
    def reports(self) -> list[AgentReport]:
        return self.kept


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    log = tmp_path_factory.mktemp("agent-temporal") / "server.log"
    with temporal.temporal_server(log=log) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def client(server: DevServer) -> AsyncIterator[Any]:
    async with temporal.temporal_client(server) as client:
        yield client


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def controller(client: Client) -> AsyncIterator[Worker]:
    worker = Worker(
        client,
        task_queue=ids.CONTROLLER_QUEUE,
        workflows=[JobWorkflow, Reports],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        yield worker


class Agent:
    """The agent's process and its log."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        self.env, self.log, self.backend = env, log, env["BACKEND"]
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix: list[str] = []

    async def start(self) -> None:
        seen = self.text().count(STARTED)
        with self.log.open("ab") as output:
            command = [*self.prefix, sys.executable, "-m", "worker_agent"]
            self.process = await asyncio.to_thread(
                lambda: subprocess.Popen(command, env=self.env, stderr=output, stdout=output)
            )

        def started() -> bool:
            assert self.process.poll() is None, self.text()
            return self.text().count(STARTED) > seen

        await eventually(started, "the agent")

    def text(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    async def end(self, number: Signals) -> int:
        """Send a signal; the exit status."""
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 30)


@pytest_asyncio.fixture(loop_scope="session")
async def agent(
    agent_env: dict[str, str], server: DevServer, controller: Worker, tmp_path: Path
) -> AsyncIterator[Agent]:
    backend = f"b{uuid4().hex[:8]}"
    env = {**os.environ, **agent_env, "BACKEND": backend, "BACKENDS": backend}
    env |= {"TEMPORAL_ADDRESS": server.address, "STATS_POLL_INTERVAL": "0.2"}
    process = Agent(env, tmp_path / "agent.log")
    yield process
    if process.process is not None and process.process.poll() is None:
        process.process.kill()
        process.process.wait()


@pytest.fixture
def attempt(agent: Agent, client: Client) -> Callable[..., Any]:
    """Starts the real workflow of an attempt on the agent's host."""

    async def start(definition: JobDefinition, host: str = "main") -> WorkflowHandle:
        definition = definition.model_copy(update={"backend": agent.backend})
        return await client.start_workflow(
            JobWorkflow.run,
            JobAttempt(definition=definition, attempt=1, host=host),
            id=ids.job_workflow_id(definition.workspace, definition.action, definition.id),
            task_queue=ids.CONTROLLER_QUEUE,
        )

    return start


async def container_of(docker_client: DockerClient, definition: JobDefinition) -> Container:
    """The container of a job, as soon as it runs."""
    filters: dict[str, Any] = {"name": f"^/os-job-{definition.id}$", "status": "running"}
    (found,) = await eventually(
        lambda: asyncio.to_thread(docker_client.containers.list, filters=filters),
        "a running container",
    )
    return found


def let_go_on(tmp_path: Path, definition: JobDefinition) -> None:
    (tmp_path / "high/volumes" / definition.id / "go").touch()


def record(tmp_path: Path, definition: JobDefinition) -> dict[str, Any]:
    (path,) = (tmp_path / "high/logs").glob(f"*/os-job-{definition.id}/metadata.json")
    return json.loads(path.read_text())


async def test_an_agent_that_is_killed_goes_on_with_its_container_at_once(
    agent: Agent,
    attempt: Callable[..., Any],
    job: Callable[..., Any],
    docker_client: DockerClient,
    tmp_path: Path,
) -> None:
    await agent.start()
    definition = job(WAITS)
    handle = await attempt(definition)
    before = await container_of(docker_client, definition)
    await agent.end(signal.SIGKILL)
    let_go_on(tmp_path, definition)
    await asyncio.to_thread(before.wait)
    await agent.start()
    # The heartbeat timeout is a minute: only the handed-back token makes this quick.
    result = await asyncio.wait_for(handle.result(), PATIENCE)
    assert (result.outcome.ending, result.outcome.exit_code) == (Ending.COMPLETED, 0)
    assert record(tmp_path, definition)["container_metadata"]["Id"] == before.id
    tokens = tmp_path / "workdir/state/tokens"
    await eventually(lambda: files_in(tokens) == [], "the agent to hear that it was heard")


async def test_an_agent_told_to_stop_leaves_its_containers_and_exits_with_zero(
    agent: Agent,
    attempt: Callable[..., Any],
    job: Callable[..., Any],
    docker_client: DockerClient,
    tmp_path: Path,
) -> None:
    await agent.start()
    definition = job(WAITS)
    handle = await attempt(definition)
    before = await container_of(docker_client, definition)
    assert await asyncio.wait_for(agent.end(signal.SIGTERM), 8) == 0
    before.reload()
    assert before.status == "running"
    await agent.start()
    let_go_on(tmp_path, definition)
    result = await asyncio.wait_for(handle.result(), PATIENCE)
    assert result.outcome.ending is Ending.COMPLETED
    assert record(tmp_path, definition)["container_metadata"]["Id"] == before.id
    assert await agent.end(signal.SIGINT) == 0


@pytest.mark.parametrize("stop", ["order", "cancel"])
async def test_a_stopped_attempt_ends_as_cancelled_and_leaves_nothing(
    agent: Agent,
    attempt: Callable[..., Any],
    job: Callable[..., Any],
    docker_client: DockerClient,
    tmp_path: Path,
    stop: str,
) -> None:
    await agent.start()
    definition = job(WAITS)
    handle = await attempt(definition)
    await container_of(docker_client, definition)
    if stop == "order":
        await handle.signal(JobWorkflow.stop, StopOrder(reason=StopReason.CANCELLED))
        result = await asyncio.wait_for(handle.result(), PATIENCE)
    else:
        await handle.cancel()
        with pytest.raises(WorkflowFailureError) as failure:
            await asyncio.wait_for(handle.result(), PATIENCE)
        result = end_in(failure.value, AttemptResult)
    assert result.outcome.ending is Ending.CANCELLED
    name = f"^/os-job-{definition.id}$"
    assert docker_client.containers.list(all=True, filters={"name": name}) == []
    assert not (tmp_path / "high/volumes" / definition.id).exists()
    assert record(tmp_path, definition)["cancelled"] is True


async def test_a_stop_while_the_agent_is_away_is_carried_out_when_it_is_back(
    agent: Agent,
    attempt: Callable[..., Any],
    job: Callable[..., Any],
    docker_client: DockerClient,
    tmp_path: Path,
) -> None:
    await agent.start()
    definition = job(WAITS)
    handle = await attempt(definition)
    container = await container_of(docker_client, definition)
    await agent.end(signal.SIGTERM)
    await handle.signal(JobWorkflow.stop, StopOrder(reason=StopReason.MAINTENANCE))
    await agent.start()
    result = await asyncio.wait_for(handle.result(), PATIENCE)
    assert result.stopped is StopReason.MAINTENANCE
    assert docker_client.containers.list(all=True, filters={"id": container.id}) == []
    assert record(tmp_path, definition)["cancelled"] is True


async def test_reports_tell_the_backend_of_the_host_and_its_jobs(
    agent: Agent,
    attempt: Callable[..., Any],
    job: Callable[..., Any],
    client: Client,
    docker_client: DockerClient,
    tmp_path: Path,
) -> None:
    reports = await client.start_workflow(
        Reports.run,
        id=ids.backend_workflow_id(agent.backend),
        task_queue=ids.CONTROLLER_QUEUE,
    )

    async def report_with(condition: Callable[..., Any]) -> AgentReport:
        async def latest() -> AgentReport | None:
            kept = await reports.query(Reports.reports)
            return kept[-1] if kept and condition(kept[-1]) else None

        return await eventually(latest, "the report")

    await agent.start()
    idle = await report_with(lambda report: not report.jobs)
    assert (idle.backend, idle.host, idle.room) == (agent.backend, "main", 50)
    assert idle.engine
    assert idle.version == importlib.metadata.version("opensafely-rap")
    assert idle.free_disk_bytes
    definition = job(WAITS)
    handle = await attempt(definition)
    busy = await report_with(lambda report: [each.stage for each in report.jobs] == RUNS)
    assert [each.job_id for each in busy.jobs] == [definition.id]
    assert busy.room == 49
    let_go_on(tmp_path, definition)
    await handle.result()
    await report_with(lambda report: not report.jobs and report.room == 50)
    assert len(await reports.query(Reports.reports)) < 12
    await reports.terminate()


async def test_a_job_that_runs_long_enough_is_measured(
    agent: Agent,
    attempt: Callable[..., Any],
    job: Callable[..., Any],
    docker_client: DockerClient,
    tmp_path: Path,
) -> None:
    await agent.start()
    definition = job(f"while ! [ -e /workspace/go ]; do :; done; {WAITS}", cpu_count=0.5)
    handle = await attempt(definition)
    await container_of(docker_client, definition)
    usage = tmp_path / "workdir/state/usage" / f"{definition.id}.json"
    await eventually(usage.exists, "a measurement")
    let_go_on(tmp_path, definition)
    metrics = (await handle.result()).outcome.metrics
    assert metrics.cpu_peak > 0
    assert metrics.mem_mb_peak > 0
    assert record(tmp_path, definition)["job_metrics"] == metrics.model_dump()


async def test_a_finished_job_of_a_dead_agent_leaves_no_container_behind(
    agent: Agent,
    attempt: Callable[..., Any],
    job: Callable[..., Any],
    docker_client: DockerClient,
    image: str,
) -> None:
    await agent.start()
    definition = job("true", output_spec={})
    await (await attempt(definition)).result()
    await agent.end(signal.SIGKILL)
    # As if it had died between the record and the clean-up.
    name = f"os-job-{definition.id}"
    labels = {"job-runner": "", "task": definition.task_id}
    docker_client.containers.run(image, "/bin/true", name=name, labels=labels, detach=True).wait()
    await agent.start()
    assert docker_client.containers.list(all=True, filters={"name": name}) == []


async def test_a_second_agent_takes_the_jobs_over_without_a_gap(
    agent: Agent,
    attempt: Callable[..., Any],
    job: Callable[..., Any],
    docker_client: DockerClient,
    tmp_path: Path,
) -> None:
    await agent.start()
    running, stopped = job(WAITS), job(WAITS)
    handles = [await attempt(each) for each in (running, stopped)]
    containers = [await container_of(docker_client, each) for each in (running, stopped)]
    second = Agent(agent.env, tmp_path / "second.log")
    starting = asyncio.create_task(second.start())
    await eventually(lambda: "asked the agent that runs here" in second.text(), "the request")
    # Neither of the two processes may be polling now: nothing of this may be lost.
    let_go_on(tmp_path, running)
    await handles[1].signal(JobWorkflow.stop, StopOrder(reason=StopReason.CANCELLED))
    late = job(WRITES)
    handles.append(await attempt(late))
    await asyncio.wait_for(starting, PATIENCE)
    try:
        assert await asyncio.to_thread(agent.process.wait, 30) == 0
        assert "stopping: jobs are given back" in agent.text()
        # The heartbeat timeout is a minute: nothing waited for it.
        results = await asyncio.wait_for(asyncio.gather(*(h.result() for h in handles)), 50)
        assert [result.stopped for result in results] == [None, StopReason.CANCELLED, None]
        for result in (results[0], results[2]):
            assert (result.outcome.ending, result.outcome.exit_code) == (Ending.COMPLETED, 0)
        assert record(tmp_path, stopped)["cancelled"] is True
        for definition, container in zip((running, stopped), containers, strict=True):
            assert record(tmp_path, definition)["container_metadata"]["Id"] == container.id
    finally:
        assert await second.end(signal.SIGTERM) == 0


async def test_an_agent_is_not_asked_to_go_before_its_successor_could_work(
    agent: Agent, tmp_path: Path
) -> None:
    await agent.start()
    second = Agent({**agent.env, "TEMPORAL_ADDRESS": "127.0.0.1:1"}, tmp_path / "second.log")
    starting = asyncio.create_task(second.start())
    await eventually(lambda: "Temporal does not answer" in second.text(), "the second agent")
    starting.cancel()
    assert await second.end(signal.SIGTERM) == 0
    assert agent.process.poll() is None
    assert await agent.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("identity", ["a process that has gone", "another namespace", "unreadable"])
async def test_an_agent_that_cannot_be_asked_is_waited_for(
    agent: Agent, tmp_path: Path, identity: str
) -> None:
    await agent.start()
    lock = tmp_path / "workdir/state/agent.lock"
    holder = json.loads(lock.read_text())
    assert holder["pid"] == agent.process.pid
    changed = {
        # The same number, but of a process that began at another time.
        "a process that has gone": json.dumps({**holder, "started": holder["started"] - 1}),
        "another namespace": json.dumps({**holder, "namespace": holder["namespace"] - 1}),
        "unreadable": "",
    }
    lock.write_text(changed[identity])
    second = Agent(agent.env, tmp_path / "second.log")
    starting = asyncio.create_task(second.start())
    await eventually(lambda: "waiting for it to end" in second.text(), "the second agent")
    assert STARTED not in second.text()
    assert agent.process.poll() is None
    assert await agent.end(signal.SIGTERM) == 0
    await asyncio.wait_for(starting, PATIENCE)
    assert await second.end(signal.SIGTERM) == 0


async def test_an_agent_that_is_not_root_runs_jobs_as_itself(
    agent: Agent,
    attempt: Callable[..., Any],
    job: Callable[..., Any],
    study: Study,
    tmp_path: Path,
    docker_client: DockerClient,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("all tests here run as another user than root")
    socket = Path("/var/run/docker.sock").stat()
    # Pytest's own folders are closed to others.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        home = Path(name)
        home.chmod(0o755)
        folders = {"WORKDIR": home / "workdir"}
        folders |= {f"{level}_PRIVACY_STORAGE_BASE": home / level for level in ("HIGH", "MEDIUM")}
        for folder in folders.values():
            folder.mkdir()
            os.chown(folder, UID, UID)
        repo = home / "study"
        await asyncio.to_thread(shutil.copytree, study.git_repo_url, repo)
        for path in (repo, *repo.rglob("*")):
            os.chown(path, UID, UID)
        agent.env |= {key: str(folder) for key, folder in folders.items()} | {"HOME": str(home)}
        agent.prefix = [
            *("setpriv", f"--reuid={UID}", f"--regid={UID}", f"--groups={socket.st_gid}"),
            # It may read where this interpreter is installed; it can write or give away nothing.
            *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
        ]
        await agent.start()
        mine = study.model_copy(update={"git_repo_url": str(repo)})
        script = "id -u; id -g; touch /workspace/project.yaml; mkdir output; echo 1 > output/a.csv"
        result = await (await attempt(job(script, study=mine, repo_url=str(repo)))).result()
        assert (result.outcome.ending, result.outcome.exit_code) == (Ending.COMPLETED, 0)
        written = home / "HIGH/workspaces/wksp/output/a.csv"
        assert written.stat().st_uid == UID
        assert f"{UID}\n" in (home / "HIGH/workspaces/wksp/metadata/act.log").read_text()
        assert list((home / "HIGH/volumes").iterdir()) == []
        assert await agent.end(signal.SIGTERM) == 0
        agent.env["DOCKER_USER_ID"] = str(UID + 1)
        refused = await asyncio.to_thread(leave_unstarted, agent.env, agent.prefix)
        assert refused[0] == 2
        assert f"DOCKER_USER_ID: jobs would run as user {UID + 1}" in refused[1]
        assert f"set it to {UID}" in refused[1]


def leave_unstarted(
    env: dict[str, str], prefix: list[str] | tuple[Any, ...] = (), **changes: Any
) -> tuple[int, str]:
    env = {**env, **changes}
    command = [*prefix, sys.executable, "-m", "worker_agent"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
    return done.returncode, done.stderr.strip()


async def test_an_agent_without_a_backend_says_so(agent: Agent) -> None:
    code, text = await asyncio.to_thread(leave_unstarted, agent.env, BACKEND="")
    assert code == 2
    assert text == (
        f"BACKEND is not set: set it to the backend that this agent serves, one of {agent.backend}"
    )


@pytest.mark.spec("agent:164")
async def test_an_agent_with_settings_that_cannot_work_says_which(
    agent: Agent, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    wrong = {
        "BACKEND": ("nowhere", "BACKEND nowhere is not valid, allowed backends are:"),
        "PRESTO_TLS_CERT_PATH": (str(file), "Both PRESTO_TLS_KEY_PATH and PRESTO_TLS_CERT_PATH"),
        "HIGH_PRIVACY_STORAGE_BASE": (f"{file}/x", f"HIGH_PRIVACY_STORAGE_BASE: {file}/x cannot"),
    }
    for name, (value, sentence) in wrong.items():
        code, text = await asyncio.to_thread(leave_unstarted, agent.env, (), **{name: value})
        assert code == 2
        assert text.startswith(sentence)
        assert "Traceback" not in text


@pytest.mark.spec("agent:8")
@pytest.mark.parametrize(
    ("name", "value", "number", "sentence"),
    [
        (
            "TEMPORAL_ADDRESS",
            "127.0.0.1:1",
            signal.SIGTERM,
            "Temporal does not answer at 127.0.0.1:1",
        ),
        (
            "DOCKER_HOST",
            "unix:///nobody/is/here.sock",
            signal.SIGINT,
            "Docker does not answer, waiting for it",
        ),
    ],
)
async def test_an_agent_that_waits_for_a_service_says_so_once_and_can_be_stopped(
    agent: Agent, tmp_path: Path, name: str, value: str, number: Signals, sentence: str
) -> None:
    waiting = Agent({**agent.env, name: value}, tmp_path / "waiting.log")
    starting = asyncio.create_task(waiting.start())
    await eventually(lambda: sentence in waiting.text(), sentence)
    starting.cancel()
    assert await asyncio.wait_for(waiting.end(number), 8) == 0
    assert waiting.text().count(sentence) == 1
