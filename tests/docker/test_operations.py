"""`rap agent …` on real containers, with no agent and no server: what an operator sees and does."""

import asyncio
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from cli.main import run_app
from rap.models import JobDefinition
from rap.settings import AgentSettings
from worker_agent.engine.container import container_config
from worker_agent.host import Host
from worker_agent.state.attempts import AttemptState

pytestmark = pytest.mark.docker

RAP_COMMAND = Path(sys.executable).parent / "rap"
TALK = "echo waiting; echo second; sleep 600"


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("rap.telemetry.logs.configure", lambda *_: None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def running(
    host: Host, job: Callable[..., Any], image: str, settings: AgentSettings
) -> Callable[..., Any]:
    """Starts the containers of jobs as the agent does, and waits until they have said something."""

    def start(script: str = TALK, *, ours: bool = True, **changes: Any) -> JobDefinition:
        definition = job(script, **changes)
        volume = host.storage.volume(definition.id)
        volume.mkdir(parents=True)
        source = host.storage.mount_source(definition.id) if ours else volume.parent
        config = container_config(
            definition, settings, image=image, mount_source=source, secrets={}
        )
        asyncio.run(host.engine.containers.start(definition.id, config))
        return definition

    return start


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def give(*lines: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    give()
    return give


def is_running(docker_client: DockerClient, definition: JobDefinition) -> bool:
    return docker_client.containers.get(f"os-job-{definition.id}").status == "running"


def until_written(
    docker_client: DockerClient, definition: JobDefinition, text: bytes = b"second"
) -> None:
    container = docker_client.containers.get(f"os-job-{definition.id}")
    deadline = time.monotonic() + 30
    while text not in container.logs():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- jobs ---


def test_running_jobs_are_shown_with_what_they_use_and_when_they_last_wrote(
    running: Callable[..., Any], docker_client: DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    busy = running("echo waiting; echo second; while :; do :; done", memory_limit="64m")
    idle = running("sleep 600", action="idle", workspace="other")
    running(ours=False)
    until_written(docker_client, busy)
    before = time.time()

    assert run_app(["agent", "jobs", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["jobs"]
    assert [(each["job_id"], each["workspace"], each["action"]) for each in shown] == [
        (busy.id, "wksp", "act"),
        (idle.id, "other", "idle"),
    ]
    assert shown[0]["cpu_percent"] > 10 * (shown[1]["cpu_percent"] or 0)
    assert 0 < shown[0]["memory_mb"] < shown[0]["memory_limit_mb"] == 64
    assert shown[0]["task_id"] == busy.task_id
    assert 0 <= shown[0]["age_s"] < time.time() - before + 120
    assert shown[0]["last_output_at"] is not None
    assert shown[1]["last_output_at"] is None
    assert [each["last_output"] for each in shown] == [None, None]

    assert run_app(["agent", "jobs", "--last-line"]) == 0
    text = capsys.readouterr().out
    assert "second" in text
    assert "none yet" in text
    assert "\x1b" not in text


def test_no_running_jobs_is_a_sentence_and_an_empty_list(
    settings: AgentSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["agent", "jobs"]) == 0
    assert capsys.readouterr().out == "No jobs run on this host.\n"
    assert run_app(["agent", "jobs", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"jobs": []}


def test_watching_goes_on_until_it_is_ended(
    running: Callable[..., Any], docker_client: DockerClient
) -> None:
    definition = running()
    until_written(docker_client, definition)
    with subprocess.Popen(
        [RAP_COMMAND, "agent", "jobs", "--watch"], stdout=subprocess.PIPE, text=True
    ) as watching:
        try:
            for _ in range(2):
                while definition.id not in (line := watching.stdout.readline()):
                    assert line, "it ended by itself"
        finally:
            watching.send_signal(2)
        assert watching.wait(30) == 130


# --- logs ---


def test_a_running_jobs_log_is_found_by_a_part_of_its_id_and_followed_to_its_end(
    running: Callable[..., Any], docker_client: DockerClient, host: Host
) -> None:
    definition = running("echo waiting; until [ -e gate ]; do sleep 0.05; done; echo done")
    with subprocess.Popen(
        [RAP_COMMAND, "agent", "logs", "-f", definition.id[2:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as following:
        assert following.stdout.readline() == "waiting\n"
        (host.storage.volume(definition.id) / "gate").touch()
        rest, said = following.communicate(timeout=60)
    assert rest == "done\n"
    assert said == f"The program of job {definition.id} has ended.\n"
    assert following.returncode == 0


def test_the_end_of_a_log_can_be_asked_for(
    running: Callable[..., Any],
    docker_client: DockerClient,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    definition = running()
    until_written(docker_client, definition)
    assert run_app(["agent", "logs", definition.id, "--tail", "1"]) == 0
    assert capfdbinary.readouterr().out == b"second\n"


# --- kill (docs/spec/agent.md 15.1) ---


@pytest.mark.spec("agent:159")
def test_a_full_id_is_killed_without_a_question_and_the_order_kept_before(
    running: Callable[..., Any],
    docker_client: DockerClient,
    host: Host,
    capsys: pytest.CaptureFixture[str],
    answers: Callable[..., Any],
) -> None:
    definition, other = running(), running()
    assert run_app(["agent", "kill", definition.id]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"Task for job {definition.id} killed.\n"
    assert "The agent does not run" in shown.err
    assert not is_running(docker_client, definition)
    assert is_running(docker_client, other)
    attempts = AttemptState(host.storage.state_dir)
    assert attempts.is_killed(definition.task_id)
    assert not attempts.is_killed(other.task_id)


@pytest.mark.spec("agent:159")
def test_a_part_of_an_id_is_asked_about_first(
    running: Callable[..., Any],
    docker_client: DockerClient,
    capsys: pytest.CaptureFixture[str],
    answers: Callable[..., Any],
) -> None:
    definition = running()
    part = definition.id[:-2]
    answers("no")
    assert run_app(["agent", "kill", part]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith(f"About to kill tasks for jobs:\n  {definition.id}")
    assert shown.out.endswith("\n\nEnter to continue, Ctrl-C to quit ")
    assert shown.err == "Nothing was killed.\n"
    assert is_running(docker_client, definition)
    answers("")
    assert run_app(["agent", "kill", part, definition.id]) == 0
    assert capsys.readouterr().out.count("killed.") == 1
    assert not is_running(docker_client, definition)


@pytest.mark.spec("agent:159")
def test_among_several_one_is_chosen_by_its_number(
    running: Callable[..., Any],
    docker_client: DockerClient,
    capsys: pytest.CaptureFixture[str],
    answers: Callable[..., Any],
) -> None:
    first, second = running(), running()
    answers("0", "3", "two", "2", "")
    assert run_app(["agent", "kill", "os-job-t"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "Multiple running tasks found matching 'os-job-t':\n"
        f"  1: {first.id}\n  2: {second.id}\n\nEnter number: "
    )
    assert shown.count("Enter a number from 1 to 2.") == 3
    assert is_running(docker_client, first)
    assert not is_running(docker_client, second)


@pytest.mark.spec("agent:159")
def test_what_is_unknown_or_anothers_is_said_and_the_rest_is_killed(
    running: Callable[..., Any],
    docker_client: DockerClient,
    capsys: pytest.CaptureFixture[str],
    answers: Callable[..., Any],
) -> None:
    definition, foreign = running(), running(ours=False)
    assert run_app(["agent", "kill", "nonsense", foreign.id, definition.id]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith(
        "No running tasks found matching 'nonsense'\n"
        f"No running tasks found matching '{foreign.id}'\n"
    )
    assert shown.out == f"Task for job {definition.id} killed.\n"
    assert is_running(docker_client, foreign)


@pytest.mark.spec("agent:159")
def test_a_container_that_vanishes_before_the_answer_is_said_and_the_next_is_killed(
    running: Callable[..., Any], docker_client: DockerClient, host: Host
) -> None:
    vanishing, other = running(), running()
    with subprocess.Popen(
        [RAP_COMMAND, "agent", "kill", vanishing.id[1:], other.id],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as killing:
        while not killing.stdout.readline().endswith("act)\n"):
            pass
        docker_client.containers.get(f"os-job-{vanishing.id}").remove(force=True)
        rest, _ = killing.communicate("\n", timeout=60)
    assert killing.returncode == 0
    assert (
        f"Cannot kill task for job {vanishing.id}, associated container does not exist. "
        "The job may have completed.\n" in rest
    )
    assert f"Task for job {other.id} killed.\n" in rest
    assert not AttemptState(host.storage.state_dir).is_killed(vanishing.task_id)


def test_several_matches_with_nobody_to_ask_kill_nothing(
    running: Callable[..., Any],
    docker_client: DockerClient,
    capsys: pytest.CaptureFixture[str],
    answers: Callable[..., Any],
) -> None:
    jobs = [running(), running()]
    assert run_app(["agent", "kill", "--yes", "os-job-t"]) == 1
    assert "Name one of them in full." in capsys.readouterr().err
    assert all(is_running(docker_client, each) for each in jobs)
    assert run_app(["agent", "kill", "os-job-t"]) == 1
    assert "No answer came" in capsys.readouterr().err
    assert all(is_running(docker_client, each) for each in jobs)
