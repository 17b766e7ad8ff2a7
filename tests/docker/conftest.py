"""A real Docker engine, a tiny image built here, and a host with folders of its own."""

import asyncio
import dataclasses
import inspect
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest
from docker import DockerClient
from temporalio.testing import ActivityEnvironment

from rap.models import JobDefinition, PrivacyLevel, Study
from rap.settings import AgentSettings
from tests.docker.busybox import build_busybox
from worker_agent.host import Host
from worker_agent.pauses import Pauses

IMPATIENT = Pauses(early_tries=(0.01, 0.01))
PATIENCE = 60
"""Seconds after which a test gives up what it waits for."""
PROJECT = """\
version: '4.0'
actions:
  act:
    run: "busybox:v1 sh"
    outputs:
      moderately_sensitive:
        all: output/*.csv
"""


@pytest.fixture(scope="session")
def docker_client() -> Iterator[DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(docker_client: DockerClient, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image that holds nothing but busybox."""
    return build_busybox(docker_client, tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A repository with a project file."""
    repo = tmp_path_factory.mktemp("study")

    def git(*args: str) -> str:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
        done = subprocess.run(
            ["git", *identity, *args], cwd=repo, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    (repo / "project.yaml").write_text(PROJECT)
    (repo / "analysis.txt").write_text("code\n")
    git("add", ".")
    git("commit", "--quiet", "--message=first")
    return Study(git_repo_url=str(repo), commit=git("rev-parse", "HEAD"), branch="main")


@pytest.fixture
def agent_env(tmp_path: Path) -> dict[str, str]:
    """The environment of an agent whose folders are this test's own."""
    return {
        "BACKEND": "test",
        "WORKDIR": str(tmp_path / "workdir"),
        "HIGH_PRIVACY_STORAGE_BASE": str(tmp_path / "high"),
        "MEDIUM_PRIVACY_STORAGE_BASE": str(tmp_path / "medium"),
        "ALLOW_LOCAL_GIT_REPOS": "true",
    }


@pytest.fixture
def settings(agent_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> AgentSettings:
    for name, value in agent_env.items():
        monkeypatch.setenv(name, value)
    return AgentSettings()


@pytest.fixture
def host(settings: AgentSettings) -> Host:
    return Host.of(settings, IMPATIENT)


@pytest.fixture
def job(study: Study, image: str, docker_client: DockerClient) -> Iterator[Callable[..., Any]]:
    """Makes definitions of jobs that run a shell command; their containers go with the test."""
    made = []

    def make(script: str = "true", **changes: Any) -> JobDefinition:
        job_id = f"t{uuid4().hex[:15]}"
        made.append(job_id)
        definition = JobDefinition(
            id=job_id,
            rap_id="raprapraprap0001",
            task_id=f"{job_id}-001",
            repo_url=study.git_repo_url,
            commit=study.commit,
            study=study,
            workspace="wksp",
            action="act",
            created_at=1767323045,
            image=image,
            args=("/bin/busybox", "sh", "-c", script),
            env={"OPENSAFELY_BACKEND": "test"},
            output_spec={"output/*.csv": PrivacyLevel.MODERATELY_SENSITIVE},
            backend="test",
        )
        return definition.model_copy(update=changes)

    yield make
    for job_id in made:
        for container in docker_client.containers.list(
            all=True, filters={"name": f"^/os-job-{job_id}$"}
        ):
            container.remove(force=True, v=True)


@pytest.fixture
def activity_environment() -> Callable[[], "Environment"]:
    """Makes environments that an activity can run in without a server."""

    def make() -> Environment:
        environment = Environment()
        environment.info = dataclasses.replace(environment.info, task_token=os.urandom(8))
        return environment

    return make


class Environment(ActivityEnvironment):
    """One that keeps the heartbeats."""

    def __init__(self) -> None:
        super().__init__()
        self.heartbeats: list[Any] = []
        self.on_heartbeat = lambda *details: self.heartbeats.append(details)


def files_in(folder: Path) -> list[Any]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


async def eventually(condition: Callable[..., Any], what: str = "what the test waits for") -> Any:
    """The first true answer of a condition that may be a coroutine function."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = condition()
                if inspect.isawaitable(answer):
                    answer = await answer
                if answer:
                    return answer
                await asyncio.sleep(0.05)
    except TimeoutError:
        pytest.fail(f"{what} did not come about within {PATIENCE} s")
