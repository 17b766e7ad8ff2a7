"""Digests from a real registry, the one in Debian's packages: docs/spec/controller.md 10.4."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest
from temporalio.testing import ActivityEnvironment

from activities.agent.run_job import RunJob
from activities.controller.registry import Registry
from rap.egress import Ending
from rap.settings import AgentSettings
from worker_agent.host import Host

pytestmark = pytest.mark.docker

CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: 127.0.0.1:{port}}}
"""


@pytest.fixture(scope="module")
def registry_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    program = shutil.which("docker-registry")
    assert program, "these tests need docker-registry (Debian, Ubuntu: apt install docker-registry)"
    folder: Path = tmp_path_factory.mktemp("registry")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(CONFIG.format(folder=folder / "data", port=port))
    process = subprocess.Popen([program, "serve", str(config)])
    host = f"127.0.0.1:{port}"
    for _ in range(200):
        try:
            httpx.get(f"http://{host}/v2/")
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield host
    process.terminate()
    process.wait()


@pytest.mark.spec("controller:103")
async def test_a_pushed_tag_resolves_to_the_digest_that_the_engine_pulls_by(
    registry_host: str, docker_client: docker.DockerClient, image: str
) -> None:
    name = f"{registry_host}/opensafely-core/busybox"
    docker_client.images.get(image).tag(name, "v1")
    docker_client.images.push(name, tag="v1")
    registry = Registry(f"http://{registry_host}")
    digest = await registry.digest(f"{name}:v1")
    assert f"{name}@{digest}" in docker_client.images.get(f"{name}:v1").attrs["RepoDigests"]
    assert await registry.digest(f"{name}:v2") is None
    assert await registry.digest(f"{registry_host}/opensafely-core/nothing:v1") is None
    await registry.aclose()
    docker_client.images.remove(f"{name}:v1")


@pytest.mark.spec("agent:82", "agent:83")
async def test_a_job_runs_the_image_of_its_digest_from_the_proxy_and_the_names_come_back(
    registry_host: str,
    docker_client: docker.DockerClient,
    image: str,
    job: Callable[..., Any],
    settings: AgentSettings,
) -> None:
    name = "rap-test-from-proxy"
    proxied, local = f"{registry_host}/opensafely-core/{name}", f"ghcr.io/opensafely-core/{name}"
    docker_client.images.get(image).tag(proxied, "v1")
    docker_client.images.push(proxied, tag="v1")
    registry = Registry(f"http://{registry_host}")
    digest = await registry.digest(f"{proxied}:v1")
    await registry.aclose()
    pinned = f"{proxied}@{digest}"
    docker_client.images.remove(f"{proxied}:v1")  # its digest goes with its last name
    with pytest.raises(docker.errors.ImageNotFound):
        docker_client.images.get(pinned)
    proxy = {"docker_proxy": f"{registry_host}/opensafely-core"}
    at = Host.of(settings.model_copy(update=proxy))
    definition = job("mkdir output; echo 1 > output/a.csv", image=f"{local}:v1", image_sha=digest)
    try:
        outcome = await ActivityEnvironment().run(RunJob(at).run_job, definition)
        assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
        record = json.loads((at.storage.log_dir(definition) / "metadata.json").read_text())
        assert record["container_metadata"]["Config"]["Image"] == f"{proxied}:v1@{digest}"
        pulled = docker_client.images.get(pinned).id
        assert outcome.image_id == pulled
        named = {docker_client.images.get(f"{each}:v1").id for each in (proxied, local)}
        assert named == {pulled}
    finally:
        for reference in (f"{local}:v1", f"{proxied}:v1", pinned):
            with suppress(docker.errors.ImageNotFound):
                docker_client.images.remove(reference)
