"""Pinning images: one job's image never holds up another job (docs/spec/controller.md 10.4)."""

from collections.abc import Iterator
from typing import Any

import pytest

from rap.models import ImageAnswer
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action

pytestmark = pytest.mark.workflows

PYTHON = "ghcr.io/opensafely-core/python:v2"
R = "ghcr.io/opensafely-core/r:v1"
DIGEST = "sha256:" + "a" * 64


def r_action(name: str) -> Any:
    return action(name).model_copy(update={"run_command": f"r:v1 {name}.R"})


@pytest.fixture
def registry(system: RapSystem) -> Iterator[Any]:
    system.projects.images.clear()
    system.projects.pins_images = True
    yield system.projects.images
    system.projects.pins_images = False


@pytest.mark.spec("controller:103")
async def test_each_attempt_runs_the_digest_its_tag_stands_for(
    system: RapSystem, registry: Any
) -> None:
    registry[PYTHON] = ImageAnswer(digest=DIGEST)
    url = system.project(action("a"), action("b"))
    await system.start_backend()
    async with system.host() as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await system.has_ended(request)
    assert {(one.image, one.image_sha) for one in host.started} == {(PYTHON, DIGEST)}


async def test_a_tag_that_does_not_exist_fails_its_job_alone(
    system: RapSystem, registry: Any
) -> None:
    registry[PYTHON] = ImageAnswer(digest=DIGEST)
    registry[R] = ImageAnswer()
    url = system.project(action("good"), r_action("bad"), action("after", "bad"))
    await system.start_backend()
    async with system.host() as host:
        request = system.request(url, "run_all")
        await system.create(request)
        jobs = await system.reaches(
            request,
            good=StatusCode.SUCCEEDED,
            bad=StatusCode.JOB_ERROR,
            after=StatusCode.DEPENDENCY_FAILED,
        )
        await system.has_ended(request)
    assert jobs["bad"].status_message == (
        "This job returned a fatal error. The image for this job is not available on the "
        "backend; please check its name and version."
    )
    assert [one.action for one in host.started] == ["good"]


async def test_a_registry_that_is_away_holds_up_its_job_alone_and_says_so(
    system: RapSystem, registry: Any
) -> None:
    registry[PYTHON] = ImageAnswer(digest=DIGEST)
    url = system.project(action("good"), r_action("held"))
    await system.start_backend(workers=1)
    async with system.host() as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await system.reaches(request, good=StatusCode.SUCCEEDED)
        held = system.jobs(request)["held"]
        assert held.status_code is StatusCode.WAITING_ON_WORKERS
        assert held.status_message == (
            "Waiting on available workers (the image registry does not answer)"
        )
        registry[R] = ImageAnswer(digest=DIGEST)
        await system.reaches(request, held=StatusCode.SUCCEEDED)
        await system.has_ended(request)
    assert len(host.started) == 2


async def test_a_job_held_up_by_the_registry_can_be_cancelled(
    system: RapSystem, registry: Any
) -> None:
    url = system.project(r_action("held"))
    await system.start_backend()
    request = system.request(url, "held")
    await system.create(request)
    await system.reaches(request, held=StatusCode.WAITING_ON_WORKERS)
    await system.cancel(request, "held")
    await system.reaches(request, held=StatusCode.CANCELLED_BY_USER)
    await system.has_ended(request)
