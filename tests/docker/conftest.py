"""A real Docker engine, a tiny image built here, and a host with folders of its own."""

import asyncio
import dataclasses
import inspect
import os
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from temporalio.testing import ActivityEnvironment

from rap.models import JobDefinition, PrivacyLevel, Study
from rap.settings import AgentSettings
from worker_agent.host import Host

IMAGE = "ghcr.io/opensafely-core/busybox:v1"
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
def docker_client():
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(scope="session")
def image(docker_client, tmp_path_factory):
    """The name of an image that holds nothing but busybox."""
    folder = tmp_path_factory.mktemp("image")
    busybox = shutil.which("busybox")
    assert busybox, "the docker tests need busybox-static"
    shutil.copy(busybox, folder / "busybox")
    (folder / "Dockerfile").write_text(
        "FROM scratch\n"
        "COPY busybox /bin/busybox\n"
        'RUN ["/bin/busybox", "--install", "/bin"]\n'
        "LABEL org.opencontainers.image.version=v1.2.3\n"
        "WORKDIR /workspace\n"
    )
    docker_client.images.build(path=str(folder), tag=IMAGE, rm=True)
    return IMAGE


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A repository with a project file."""
    repo = tmp_path_factory.mktemp("study")

    def git(*args):
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
def agent_env(tmp_path):
    """The environment of an agent whose folders are this test's own."""
    return {
        "BACKEND": "test",
        "WORKDIR": str(tmp_path / "workdir"),
        "HIGH_PRIVACY_STORAGE_BASE": str(tmp_path / "high"),
        "MEDIUM_PRIVACY_STORAGE_BASE": str(tmp_path / "medium"),
        "ALLOW_LOCAL_GIT_REPOS": "true",
    }


@pytest.fixture
def settings(agent_env, monkeypatch):
    for name, value in agent_env.items():
        monkeypatch.setenv(name, value)
    return AgentSettings()


@pytest.fixture
def host(settings):
    return Host.of(settings)


@pytest.fixture
def job(study, image, docker_client):
    """Makes definitions of jobs that run a shell command; their containers go with the test."""
    made = []

    def make(script="true", **changes):
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
def activity_environment():
    """Makes environments that an activity can run in without a server."""

    def make():
        environment = ActivityEnvironment()
        environment.heartbeats = []
        environment.on_heartbeat = lambda *details: environment.heartbeats.append(details)
        environment.info = dataclasses.replace(environment.info, task_token=os.urandom(8))
        return environment

    return make


def files_in(folder: Path):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


async def eventually(condition, what="what the test waits for"):
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
