"""How an image comes to the host, from a registry that speaks the real protocol."""

import io
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from docker import DockerClient

from rap.egress import Ending, Fault
from rap.errors import PermanentFault, TransientFault
from rap.settings import AgentSettings
from tests.docker.engines import engine_with
from tests.docker.registry import Registry
from worker_agent.engine.images import ensure_image

pytestmark = pytest.mark.docker

NAME = "rap-test-tool"
LOCAL = f"ghcr.io/opensafely-core/{NAME}:v1"
OLD, NEW = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"


def layer(text: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo("content")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text.encode()))
    return packed.getvalue()


@pytest.fixture
def registry(docker_client: DockerClient) -> Iterator[Registry]:
    server = Registry()
    yield server
    server.close()
    # One question for all: others may build and remove images meanwhile.
    for found in docker_client.api.images():
        names = [*(found["RepoTags"] or ()), *(found["RepoDigests"] or ())]
        if any(server.prefix in name or name == LOCAL for name in names):
            docker_client.images.remove(found["Id"], force=True)


@pytest.fixture
def through(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Ensures an image of the registry, as the agent would."""
    settings = AgentSettings(backend="test", docker_proxy=registry.prefix)

    async def ensure(digest: str | None = None, image: str = LOCAL) -> str:
        return await ensure_image(engine_with(), image, digest, settings, pause=0.01)

    return ensure


@pytest.mark.spec("agent:82")
async def test_a_pinned_image_is_pulled_by_its_digest_through_the_proxy(
    through: Callable[..., Any], registry: Registry, docker_client: DockerClient
) -> None:
    digest = registry.put(layer("one"), OLD, "v1")
    registry.put(layer("two"), NEW, "v1")  # the tag has moved on: nobody asks for it
    reference = await through(digest)
    assert reference == f"{registry.prefix}/{NAME}:v1@{digest}"
    assert docker_client.images.get(reference).attrs["Created"] == OLD
    assert f"/v2/opensafely-core/{NAME}/manifests/{digest}" in registry.requests


async def test_a_pinned_image_that_is_here_is_not_pulled_again(
    through: Callable[..., Any], registry: Registry
) -> None:
    digest = registry.put(layer("one"), OLD, "v1")
    await through(digest)
    registry.requests.clear()
    await through(digest)
    assert registry.requests == []


@pytest.mark.spec("agent:83")
async def test_the_names_follow_the_newest_image_and_never_go_back(
    through: Callable[..., Any], registry: Registry, docker_client: DockerClient
) -> None:
    old = registry.put(layer("one"), OLD, "v1")
    new = registry.put(layer("two"), NEW, "v1")

    def made() -> list[str]:
        return [
            docker_client.images.get(name).attrs["Created"]
            for name in (f"{registry.prefix}/{NAME}:v1", LOCAL)
        ]

    await through(old)
    assert made() == [OLD, OLD]
    await through(new)
    assert made() == [NEW, NEW]
    await through(old)
    await through(new)
    await through(new)
    assert made() == [NEW, NEW]


async def test_without_a_digest_the_local_image_is_taken_as_it_is(
    through: Callable[..., Any], registry: Registry, image: str
) -> None:
    assert await through(image=image) == image
    assert registry.requests == []


async def test_without_a_digest_a_missing_image_is_pulled_by_its_name(
    through: Callable[..., Any], registry: Registry, docker_client: DockerClient
) -> None:
    registry.put(layer("one"), OLD, "v1")
    assert await through() == LOCAL
    assert docker_client.images.get(LOCAL).attrs["Created"] == OLD


@pytest.mark.spec("agent:84")
async def test_a_pull_that_fails_twice_succeeds_the_third_time(
    through: Callable[..., Any], registry: Registry
) -> None:
    digest = registry.put(layer("one"), OLD, "v1")
    registry.failures = 2
    assert await through(digest)


async def test_a_pull_that_fails_three_times_is_a_passing_fault(
    through: Callable[..., Any], registry: Registry
) -> None:
    digest = registry.put(layer("one"), OLD, "v1")
    registry.failures = 1000
    with pytest.raises(TransientFault) as caught:
        await through(digest)
    assert caught.value.fault is Fault.IMAGE_PULL_FAILED


@pytest.mark.parametrize("gives_details", [True, False])
@pytest.mark.parametrize("digest", [None, "sha256:" + "0" * 64])
async def test_an_image_unknown_to_the_registry_is_not_asked_for_again(
    through: Callable[..., Any], registry: Registry, gives_details: bool, digest: str | None
) -> None:
    registry.gives_details = gives_details
    with pytest.raises(PermanentFault) as caught:
        await through(digest)
    assert caught.value.fault is Fault.IMAGE_UNAVAILABLE
    assert registry.requests.count("/v2/") == 1


async def test_an_image_of_another_registry_is_refused(
    through: Callable[..., Any], registry: Registry
) -> None:
    with pytest.raises(PermanentFault, match="does not belong to DOCKER_REGISTRY") as caught:
        await through(image="docker.io/library/python:3")
    assert caught.value.fault is Fault.IMAGE_UNAVAILABLE
    assert registry.requests == []


async def test_a_job_whose_image_does_not_exist_fails_with_that_reason(
    registry: Registry,
    job: Callable[..., Any],
    settings: AgentSettings,
    activity_environment: Callable[..., Any],
) -> None:
    from activities.agent.run_job import RunJob
    from worker_agent.host import Host

    at = Host.of(settings.model_copy(update={"docker_proxy": registry.prefix}))
    definition = job(image="ghcr.io/opensafely-core/no-such-image:v1")
    outcome = await activity_environment().run(RunJob(at).run_job, definition)
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.IMAGE_UNAVAILABLE)
    assert not at.storage.volume(definition.id).exists()
