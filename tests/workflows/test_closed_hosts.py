"""A host that cannot start jobs for the time being: they wait, and nothing is held against them."""

import pytest

from rap import ids
from rap.egress import Ending, Fault, JobOutcome
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action
from workflows.job.conclusion import MAX_FAULTS

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED


async def test_jobs_wait_while_the_host_is_closed_and_start_when_it_opens(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("b"))
    await system.start_backend()
    async with system.host() as host:
        await system.report(host, closed=(Fault.ENGINE_UNAVAILABLE,))
        request = system.request(url, "run_all")
        await system.create(request)
        row = await system.backend_when(lambda row: len(row.queue) == 2)
        assert row.hold_up.value == "closed"
        assert host.started == []
        await system.report(host)
        await system.reaches(request, a=SUCCEEDED, b=SUCCEEDED)
    assert {one.task_id[-3:] for one in host.started} == {"001"}


async def test_a_missing_database_or_image_holds_up_only_the_jobs_that_need_it(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("d", db=True))
    await system.start_backend()
    async with system.host() as host:
        await system.report(host, closed=(Fault.DATABASE_NETWORK_MISSING,))
        request = system.request(url, "run_all")
        await system.create(request)
        await system.reaches(request, a=SUCCEEDED, d=StatusCode.WAITING_ON_DB_WORKERS)
        (definition,) = host.started
        image = ids.image_key(definition.image, definition.image_sha)
        await system.report(host, missing_images=(image,))
        await system.backend_when(lambda row: row.agents[0].missing_images == (image,))
        again = system.request(url, "a", workspace="other")
        await system.create(again)
        await system.backend_when(lambda row: any(each.action == "a" for each in row.queue))
        await system.report(host)
        await system.reaches(again, a=SUCCEEDED)


async def test_an_attempt_that_is_given_back_counts_as_no_fault(system: RapSystem) -> None:
    url = system.project(action("a"))
    returned = JobOutcome(task_id="t", ending=Ending.RETURNED, fault=Fault.ENGINE_UNAVAILABLE)
    fault = JobOutcome(task_id="t", ending=Ending.FAILED, fault=Fault.ENGINE_UNAVAILABLE)
    await system.start_backend()
    async with system.host(outcomes={"a": [returned, returned, fault, returned]}) as host:
        request = system.request(url, "a")
        await system.create(request)
        jobs = await system.reaches(request, a=StatusCode.WAITING_ON_NEW_TASK)
        assert "will by itself as soon as it can" in jobs["a"].status_message
        jobs = await system.reaches(request, a=SUCCEEDED)
    assert len(host.runs_of("a")) == 5
    assert len(host.runs_of("a")) <= MAX_FAULTS
