"""The whole life of an attempt at a job, with real containers, folders and git."""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from docker import DockerClient
from temporalio.activity import ActivityCancellationDetails

from activities.agent.control import Control
from activities.agent.run_job import RunJob
from rap.egress import Ending, ExitNote, Fault, JobProgress, Stage
from rap.messages.jobs import DiscardOrder, TerminateOrder
from rap.models import JobDefinition
from rap.settings import AgentSettings
from tests.docker.conftest import IMPATIENT, eventually, files_in
from worker_agent import attempt
from worker_agent.egress_guard import AgentRestart
from worker_agent.engine.facts import ContainerFacts
from worker_agent.host import Host
from worker_agent.workspace.prepare import prepare

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("image")]

WRITES = "mkdir output; echo a,b > output/one.csv; echo done"
WAITS = "echo begun; while ! [ -e /workspace/go ]; do sleep 0.1; done; " + WRITES


@pytest.fixture
def run(host: Host, activity_environment: Callable[..., Any]) -> Callable[..., Any]:
    """Runs ``run_job`` as the worker would; the environment is for cancelling it."""

    def start(
        definition: JobDefinition, at: Host = host, environment: Any = None
    ) -> asyncio.Task[Any]:
        environment = environment or activity_environment()
        task = asyncio.ensure_future(environment.run(RunJob(at).run_job, definition))
        task.environment = environment
        return task

    return start


@pytest.fixture
def order(host: Host, activity_environment: Callable[..., Any]) -> Callable[..., Any]:
    def give(
        kind: str, message: DiscardOrder | TerminateOrder, at: Host = host
    ) -> Coroutine[Any, Any, Any]:
        return activity_environment().run(getattr(Control(at), kind), message)

    return give


async def running(host: Host, definition: JobDefinition) -> ContainerFacts:
    """The container, as soon as it runs."""

    async def found() -> ContainerFacts | None:
        facts = await host.engine.containers.inspect(definition.id)
        return facts if facts is not None and facts.running else None

    return await eventually(found, "a running container")


def metadata(host: Host, definition: JobDefinition) -> dict[str, Any]:
    return json.loads((host.storage.log_dir(definition) / "metadata.json").read_text())


def let_go_on(host: Host, definition: JobDefinition) -> None:
    (host.storage.volume(definition.id) / "go").touch()


async def nothing_left(host: Host, definition: JobDefinition) -> None:
    assert await host.engine.containers.inspect(definition.id) is None
    assert not host.storage.volume(definition.id).exists()
    state = host.storage.state_dir
    assert [path for path in files_in(state) if definition.id in path] == []


@pytest.mark.spec("agent:30", "agent:101", "agent:118", "agent:115", "agent:117", "agent:139")
async def test_a_job_runs_from_its_code_to_its_published_outputs_and_leaves_nothing_behind(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(WRITES)
    outcome = await run(definition)
    assert outcome.ending is Ending.COMPLETED
    assert (outcome.exit_code, outcome.fault, outcome.has_unmatched_patterns) == (0, None, False)
    assert list(outcome.stages) == list(Stage)
    assert list(outcome.stages.values()) == sorted(outcome.stages.values())
    assert outcome.task_id == definition.task_id
    for area in (host.storage.high("wksp"), host.storage.medium("wksp")):
        assert (area / "output/one.csv").read_text() == "a,b\n"
        assert "done" in (area / "metadata/act.log").read_text()
    assert host.storage.log_dir(definition).parts[-2:] == ("2026-01", f"os-job-{definition.id}")
    record = metadata(host, definition)
    assert record["docker_image_id"] == outcome.image_id
    assert record["action_version"] == "v1.2.3"
    await nothing_left(host, definition)


async def test_no_number_of_the_program_is_taken_for_a_time_of_ours(
    run: Callable[..., Any], job: Callable[..., Any]
) -> None:
    outcome = await run(
        job(f"rm .opensafely-timestamp; printf 9%060d 0 > .opensafely-timestamp; {WRITES}")
    )
    assert outcome.exit_code == 0
    assert list(outcome.stages) == list(Stage)
    assert list(outcome.stages.values()) == sorted(outcome.stages.values())


@pytest.mark.spec("agent:106")
async def test_a_program_that_fails_is_an_outcome_with_its_exit_code_and_its_outputs(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    outcome = await run(job(f"{WRITES}; exit 7"))
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 7)
    assert (host.storage.high("wksp") / "output/one.csv").exists()


@pytest.mark.spec("agent:75", "agent:85", "agent:96", "agent:88", "agent:90")
async def test_a_job_sees_its_code_its_home_and_no_network(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, settings: AgentSettings
) -> None:
    script = (
        "mkdir output; { pwd; id -u; id -g; echo $HOME; ls -A /workspace; ls /sys/class/net; "
        "grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status; } > output/seen.csv"
    )
    outcome = await run(job(script))
    assert outcome.exit_code == 0
    seen = (host.storage.high("wksp") / "output/seen.csv").read_text().split("\n")
    assert seen == [
        "/workspace",
        str(settings.docker_user_id),
        str(settings.docker_group_id),
        "/tmp",
        ".opensafely-timestamp",
        "analysis.txt",
        "output",
        "project.yaml",
        "lo",
        "CapEff:\t0000000000000000",
        "NoNewPrivs:\t1",
        "",
    ]


@pytest.mark.spec("agent:86", "agent:95", "agent:97", "agent:89")
async def test_operators_recognise_the_container_by_its_name_and_labels(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(WAITS, cpu_count=0.5, memory_limit="64M")
    task = run(definition)
    facts = await running(host, definition)
    let_go_on(host, definition)
    await task
    assert facts.name == f"os-job-{definition.id}"
    labels = facts.inspection["Config"]["Labels"]
    assert labels["job-runner"] == labels["jobrunner-local"] == ""
    assert (labels["workspace"], labels["action"]) == ("wksp", "act")
    host_config = facts.inspection["HostConfig"]
    assert (host_config["NanoCpus"], host_config["Memory"]) == (500_000_000, 64 * 2**20)
    assert host_config["CapDrop"] == ["ALL"]
    assert host_config["SecurityOpt"] == ["no-new-privileges"]
    assert host_config["LogConfig"]["Config"]["max-file"] == "200"
    mounts = [
        (each["Type"], each["Destination"], each["RW"]) for each in facts.inspection["Mounts"]
    ]
    assert mounts == [("bind", "/workspace", True)]


@pytest.mark.parametrize(
    ("action", "label"),
    [("models/fit", "models_fit-"), ("a" * 210, "a" * 100 + "-")],
)
async def test_an_action_runs_whatever_its_name(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, action: str, label: str
) -> None:
    definition = job(WAITS, action=action)
    task = run(definition)
    facts = await running(host, definition)
    let_go_on(host, definition)
    assert (await task).exit_code == 0
    assert facts.inspection["Config"]["Labels"]["action"].startswith(label)
    for area in (host.storage.high("wksp"), host.storage.medium("wksp")):
        assert "done" in (area / f"metadata/{action}.log").read_text()
    document = json.loads((host.storage.medium("wksp") / "metadata/manifest.json").read_text())
    assert document["outputs"]["output/one.csv"]["action"] == action
    await nothing_left(host, definition)


@pytest.mark.spec("agent:108")
async def test_a_job_that_outgrows_its_memory_is_told_so(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    # The engine notes what the kernel did a moment late: the program lives on for that moment.
    greedy = "(x=a; while :; do x=$x$x; done); code=$?; sleep 0.5; exit $code"
    definition = job(greedy, memory_limit="6M")
    outcome = await run(definition)
    assert (outcome.exit_code, outcome.exit_note) == (137, ExitNote.OUT_OF_MEMORY)
    assert outcome.memory_limit_bytes == 6 * 2**20
    message = metadata(host, definition)["status_message"]
    assert message == "Job ran out of memory (limit was 0.01GB)"


@pytest.mark.spec("agent:107")
async def test_a_container_killed_from_outside_is_not_taken_for_a_cancelled_one(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(WAITS)
    task = run(definition)
    facts = await running(host, definition)
    await host.engine.containers.kill(facts.id)
    outcome = await task
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 137)
    assert outcome.exit_note is ExitNote.KILLED
    assert (host.storage.medium("wksp") / "metadata/act.log").exists()


@pytest.mark.spec("agent:46", "agent:47", "agent:136", "agent:40")
async def test_a_cancelled_running_job_is_killed_and_only_its_record_is_kept(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(f"{WRITES}; sleep 1000")
    task = run(definition)
    await running(host, definition)
    task.environment.cancel()
    outcome = await task
    assert (outcome.ending, outcome.exit_code, outcome.exit_note) == (Ending.CANCELLED, 137, None)
    record = metadata(host, definition)
    assert (record["cancelled"], record["exit_code"]) == (True, "137")
    assert record["status_message"] == "Job cancelled by system"
    assert record["outputs"] == {}
    assert files_in(host.storage.log_dir(definition)) == [
        "logs.txt",
        "metadata.json",
        "metrics.jsonl",
    ]
    assert files_in(host.settings.medium_privacy) == []
    assert not (host.storage.high("wksp") / "metadata").exists()
    await nothing_left(host, definition)


async def test_an_order_to_terminate_ends_a_running_job_as_cancelled(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, order: Callable[..., Any]
) -> None:
    definition = job(WAITS)
    task = run(definition)
    await running(host, definition)
    terminate = TerminateOrder(job_id=definition.id, task_id=definition.task_id)
    await order("terminate_job", terminate)
    outcome = await task
    assert outcome.ending is Ending.CANCELLED
    await nothing_left(host, definition)


async def test_an_order_to_terminate_outlives_the_agent(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    order: Callable[..., Any],
    settings: AgentSettings,
) -> None:
    definition = job(WAITS)
    task = run(definition)
    await running(host, definition)
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task
    terminate = TerminateOrder(job_id=definition.id, task_id=definition.task_id)
    await order("terminate_job", terminate)
    outcome = await run(definition, Host.of(settings, IMPATIENT))
    assert (outcome.ending, outcome.exit_code) == (Ending.CANCELLED, 137)


@pytest.mark.spec("agent:48")
async def test_an_attempt_stopped_before_it_came_never_starts(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, order: Callable[..., Any]
) -> None:
    definition = job(WRITES)
    terminate = TerminateOrder(job_id=definition.id, task_id=definition.task_id)
    await order("terminate_job", terminate)
    outcome = await run(definition)
    assert (outcome.ending, outcome.exit_code) == (Ending.CANCELLED, None)
    record = metadata(host, definition)
    assert (record["exit_code"], record["cancelled"]) == ("None", True)
    assert files_in(host.settings.high_privacy) == [
        f"logs/2026-01/os-job-{definition.id}/metadata.json"
    ]


async def test_an_order_for_another_attempt_leaves_the_container_alone(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, order: Callable[..., Any]
) -> None:
    definition = job(WAITS)
    task = run(definition)
    facts = await running(host, definition)
    other = f"{definition.id}-000"
    await order("terminate_job", TerminateOrder(job_id=definition.id, task_id=other))
    earlier = definition.model_copy(update={"task_id": other})
    await order("discard_job", DiscardOrder(definition=earlier))
    let_go_on(host, definition)
    outcome = await task
    assert outcome.ending is Ending.COMPLETED
    assert metadata(host, definition)["container_metadata"]["Id"] == facts.id


@pytest.mark.spec("agent:36")
async def test_a_restarted_agent_goes_on_with_the_container_that_runs(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, settings: AgentSettings
) -> None:
    definition = job(WAITS)
    task = run(definition)
    before = await running(host, definition)
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task
    assert (await running(host, definition)).id == before.id
    second = run(definition, Host.of(settings, IMPATIENT))
    let_go_on(host, definition)
    outcome = await second
    assert outcome.ending is Ending.COMPLETED
    record = metadata(host, definition)
    assert record["container_metadata"]["Id"] == before.id
    assert outcome.stages[Stage.EXECUTING] == pytest.approx(before.started_at_ns / 1e9)


@pytest.mark.parametrize("reason", ["not_found", "timed_out", "paused", "worker_shutdown"])
async def test_only_a_cancel_kills_the_container(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, reason: str
) -> None:
    definition = job(WAITS)
    task = run(definition)
    before = await running(host, definition)
    task.environment.cancel(ActivityCancellationDetails(**{reason: True}))
    with pytest.raises((asyncio.CancelledError, AgentRestart)):
        await task
    assert (await host.engine.containers.inspect(definition.id)).running
    assert host.jobs.reported() == []
    again = run(definition)
    let_go_on(host, definition)
    assert (await again).ending is Ending.COMPLETED
    assert metadata(host, definition)["container_metadata"]["Id"] == before.id


async def test_a_later_call_takes_the_job_over_from_one_that_still_waits(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(WAITS)
    first = run(definition)
    await running(host, definition)
    second = run(definition)
    with pytest.raises(asyncio.CancelledError):
        await first
    let_go_on(host, definition)
    assert (await second).ending is Ending.COMPLETED


@pytest.mark.spec("agent:35")
async def test_a_prepared_volume_is_used_as_it_is(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, settings: AgentSettings
) -> None:
    definition = job("cat /workspace/kept > /dev/null")
    await prepare(definition, host.storage, host.git, settings)
    (host.storage.volume(definition.id) / "kept").write_text("from the first time")
    outcome = await run(definition)
    assert outcome.exit_code == 0


@pytest.mark.spec("agent:37", "agent:31", "agent:41", "agent:21", "agent:53")
async def test_a_finished_attempt_is_answered_from_its_record_and_cleaned_up(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, order: Callable[..., Any]
) -> None:
    definition = job(WRITES)
    outcome = await run(definition)
    # As if the agent had died between the record and the rest.
    log = host.storage.medium("wksp") / "metadata/act.log"
    log.unlink()
    await prepare(definition, host.storage, host.git, host.settings)
    assert await run(definition) == outcome
    assert log.exists()
    await order("discard_job", DiscardOrder(definition=definition))
    assert await run(definition) == outcome
    terminate = TerminateOrder(job_id=definition.id, task_id=definition.task_id)
    await order("terminate_job", terminate)
    assert await run(definition) == outcome
    await nothing_left(host, definition)


async def stand_at(
    state: str, host: Host, definition: JobDefinition, run: Callable[..., Any]
) -> None:
    """Bring a job to a state, with nobody at work on it."""
    if state == "prepared":
        await prepare(definition, host.storage, host.git, host.settings)
    if state in ("executing", "executed"):
        task = run(definition)
        await running(host, definition)
        task.environment.worker_shutdown()
        with pytest.raises(AgentRestart):
            await task
    if state == "executed":
        let_go_on(host, definition)
        await host.engine.containers.wait(definition.id)


@pytest.mark.spec("agent:39", "agent:42", "agent:43", "agent:45")
@pytest.mark.parametrize(
    ("state", "exit_code", "files"),
    [
        ("unknown", "None", ["metadata.json"]),
        ("prepared", "None", ["metadata.json"]),
        ("executing", "137", ["logs.txt", "metadata.json", "metrics.jsonl"]),
        ("executed", "0", ["logs.txt", "metadata.json", "metrics.jsonl"]),
    ],
)
async def test_a_job_is_discarded_from_wherever_it_stands(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    order: Callable[..., Any],
    state: str,
    exit_code: str,
    files: list[str],
) -> None:
    definition = job(WAITS)
    await stand_at(state, host, definition, run)
    await order("discard_job", DiscardOrder(definition=definition))
    record = metadata(host, definition)
    assert (record["cancelled"], record["exit_code"]) == (True, exit_code)
    assert files_in(host.storage.log_dir(definition)) == files
    assert not host.storage.high("wksp").exists()
    assert not host.storage.medium("wksp").exists()
    await nothing_left(host, definition)


@pytest.mark.spec("agent:31", "agent:22")
async def test_a_failed_attempt_stays_failed(
    run: Callable[..., Any], job: Callable[..., Any], settings: AgentSettings, host: Host
) -> None:
    definition = job(WRITES)
    strict = settings.model_copy(update={"allow_local_git_repos": False})
    outcome = await run(definition, Host.of(strict, IMPATIENT))
    assert outcome.fault is Fault.REPOSITORY_REFUSED
    assert await run(definition) == outcome
    assert metadata(host, definition)["error"]


@pytest.mark.spec("agent:50", "agent:51")
async def test_a_new_attempt_after_a_cancel_starts_from_the_beginning(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, order: Callable[..., Any]
) -> None:
    definition = job(WRITES)
    await order("discard_job", DiscardOrder(definition=definition))
    assert (await run(definition)).ending is Ending.CANCELLED
    assert not host.storage.volume(definition.id).exists()
    second = definition.model_copy(update={"task_id": f"{definition.id}-002"})
    outcome = await run(second)
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
    assert metadata(host, definition)["task_id"] == second.task_id


async def test_a_late_discard_does_not_touch_what_a_later_attempt_has_published(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, order: Callable[..., Any]
) -> None:
    first = job(WRITES)
    second = first.model_copy(update={"task_id": f"{first.id}-002"})
    outcome = await run(second)
    await order("discard_job", DiscardOrder(definition=first))
    assert await run(second) == outcome


async def test_a_new_attempt_does_not_inherit_the_container_of_an_abandoned_one(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    first = job(WAITS)
    task = run(first)
    old = await running(host, first)
    task.environment.cancel(ActivityCancellationDetails(not_found=True))
    with pytest.raises(asyncio.CancelledError):
        await task
    (host.storage.volume(first.id) / "half-done").touch()
    second = first.model_copy(
        update={
            "task_id": f"{first.id}-002",
            "args": ("/bin/busybox", "sh", "-c", "[ ! -e /workspace/half-done ]"),
        }
    )
    outcome = await run(second)
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
    assert metadata(host, second)["container_metadata"]["Id"] != old.id


async def test_discarding_a_job_that_runs_here_waits_until_it_is_gone(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, order: Callable[..., Any]
) -> None:
    definition = job(WAITS)
    task = run(definition)
    await running(host, definition)
    await order("discard_job", DiscardOrder(definition=definition))
    await nothing_left(host, definition)
    assert (await task).ending is Ending.CANCELLED


async def test_a_container_that_was_created_but_never_started_is_started_afresh(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    docker_client: DockerClient,
    image: str,
) -> None:
    definition = job(WRITES)
    name = f"os-job-{definition.id}"
    docker_client.containers.create(image, "true", name=name)
    outcome = await run(definition)
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)


@pytest.mark.spec("agent:26", "agent:27", "agent:29", "agent:32")
async def test_each_change_of_state_is_logged_once(
    run: Callable[..., Any], job: Callable[..., Any]
) -> None:
    definition = job(WRITES)
    with structlog.testing.capture_logs() as logged:
        await run(definition)
    changes = [each["event"] for each in logged if each["event"].startswith("State change")]
    states = ["None", "PREPARING", "PREPARED", "EXECUTING", "FINALIZING", "FINALIZED"]
    assert changes == [
        f"State change for job {definition.id}: {old} -> {new}" for old, new in pairwise(states)
    ]


@pytest.fixture
def database_network(docker_client: DockerClient) -> Iterator[str]:
    network = docker_client.networks.create(f"rap-test-{uuid4().hex[:8]}", driver="bridge")
    yield network.name
    network.remove()


@pytest.mark.spec("agent:34", "agent:60", "agent:91", "agent:59")
async def test_a_database_job_gets_its_secret_and_nobody_else_sees_it(
    run: Callable[..., Any],
    job: Callable[..., Any],
    settings: AgentSettings,
    database_network: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DEFAULT_DATABASE_URL", "mssql://user:tellnobody@localhost/data")
    at = Host.of(
        settings.model_copy(update={"database_access_network": database_network}), IMPATIENT
    )
    script = "case $DATABASE_URL in *user:*) echo found;; esac; cat /etc/resolv.conf"
    definition = job(script, allow_database_access=True, database_name="default", output_spec={})
    task = run(definition, at)
    outcome = await task
    assert outcome.exit_code == 0
    log = (at.storage.log_dir(definition) / "logs.txt").read_text()
    assert "found" in log
    document = metadata(at, definition)["container_metadata"]
    assert document["HostConfig"]["NetworkMode"] == database_network
    assert document["HostConfig"]["Dns"] == ["192.0.2.0"]
    assert document["HostConfig"]["ExtraHosts"] == ["localhost:127.0.0.1"]
    assert "DATABASE_URL=xxxx-REDACTED-xxxx" in document["Config"]["Env"]
    assert "OPENSAFELY_BACKEND=test" in document["Config"]["Env"]
    everywhere = [path.read_text() for path in at.settings.high_privacy.rglob("*.json")]
    everywhere += [log, outcome.model_dump_json(), *capsys.readouterr()]
    everywhere += [detail.model_dump_json() for b in task.environment.heartbeats for detail in b]
    assert not [text for text in everywhere if "tellnobody" in text]


async def test_a_database_job_without_a_configured_database_fails(
    run: Callable[..., Any], job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEFAULT_DATABASE_URL", raising=False)
    outcome = await run(job(allow_database_access=True, database_name="default"))
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.DATABASE_NOT_CONFIGURED)


async def test_a_program_that_does_not_exist_is_a_failing_job(
    run: Callable[..., Any], job: Callable[..., Any]
) -> None:
    outcome = await run(job(args=("/bin/no-such-program",)))
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 127)


async def test_a_container_that_docker_refuses_is_a_failed_attempt(
    job: Callable[..., Any],
    settings: AgentSettings,
    run: Callable[..., Any],
    tmp_path: Path,
    host: Host,
) -> None:
    elsewhere = settings.model_copy(update={"docker_host_volume_dir": tmp_path / "nowhere"})
    definition = job(WRITES)
    outcome = await run(definition, Host.of(elsewhere, IMPATIENT))
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.CONTAINER_REFUSED)
    assert metadata(host, definition)["error"]["exception"] == "container_refused"
    await nothing_left(host, definition)


async def test_what_goes_wrong_unforeseen_is_tried_again_and_then_told_without_its_text(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    async def broken(*args: Any) -> None:
        tried.append(host.jobs.reported()[0].trouble)
        raise RuntimeError("patient 123")

    monkeypatch.setattr(attempt, "prepare", broken)
    outcome = await run(job(WRITES))
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.UNEXPECTED)
    assert tried == [None, Fault.UNEXPECTED, Fault.UNEXPECTED]
    assert "patient" not in outcome.model_dump_json()


@pytest.mark.spec("agent:5")
async def test_a_job_that_fails_unforeseen_does_not_disturb_another(
    run: Callable[..., Any], job: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = job(WRITES), job(WRITES, workspace="other")

    async def broken(definition: JobDefinition, *args: Any) -> None:
        if definition.id == bad.id:
            raise RuntimeError
        await prepare(definition, *args)

    monkeypatch.setattr(attempt, "prepare", broken)
    failed, done = await asyncio.gather(run(bad), run(good))
    assert (failed.ending, failed.fault) == (Ending.FAILED, Fault.UNEXPECTED)
    assert (done.ending, done.exit_code) == (Ending.COMPLETED, 0)


async def test_a_repository_that_is_not_allowed_fails_the_attempt_at_once(
    run: Callable[..., Any], job: Callable[..., Any], settings: AgentSettings
) -> None:
    strict = settings.model_copy(update={"allow_local_git_repos": False})
    outcome = await run(job(WRITES), Host.of(strict, IMPATIENT))
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.REPOSITORY_REFUSED)


@pytest.mark.parametrize("job_id", ["../escape", "a/b", ""])
async def test_a_job_id_that_could_lead_elsewhere_is_refused(
    run: Callable[..., Any], job: Callable[..., Any], job_id: str
) -> None:
    outcome = await run(job(WRITES, id=job_id))
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.UNEXPECTED)


@pytest.mark.spec("agent:13")
async def test_a_definition_without_task_id_runs(
    run: Callable[..., Any], job: Callable[..., Any]
) -> None:
    outcome = await run(job(WRITES, task_id=""))
    assert (outcome.ending, outcome.task_id) == (Ending.COMPLETED, "")


async def test_heartbeats_carry_nothing_but_progress(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(WRITES)
    task = run(definition)
    await task
    details = [detail for beat in task.environment.heartbeats for detail in beat]
    assert details
    assert {type(detail) for detail in details} == {JobProgress}
    assert {detail.job_id for detail in details} == {definition.id}
