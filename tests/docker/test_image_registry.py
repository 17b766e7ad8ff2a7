"""Digests from a real registry, the one in Debian's packages: controller.md 10.4."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import httpx
import pytest

from worker_controller.registry import Registry, UnknownImage

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
):
    name = f"{registry_host}/opensafely-core/busybox"
    docker_client.images.get(image).tag(name, "v1")
    docker_client.images.push(name, tag="v1")
    registry = Registry(f"http://{registry_host}")
    digest = await registry.digest(f"{name}:v1")
    assert f"{name}@{digest}" in docker_client.images.get(f"{name}:v1").attrs["RepoDigests"]
    with pytest.raises(UnknownImage):
        await registry.digest(f"{name}:v2")
    with pytest.raises(UnknownImage):
        await registry.digest(f"{registry_host}/opensafely-core/nothing:v1")
    await registry.aclose()
    docker_client.images.remove(f"{name}:v1")
