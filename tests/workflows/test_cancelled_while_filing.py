"""A cancel that comes when results are being filed is too late: how the attempt ended is the truth.

Only the host knows. Until it has answered, the job keeps its status, and says that it is being
cancelled; whoever waits for it waits for that answer.
"""

import pytest

from rap import ids
from rap.contracts.workflows import HOST_LOST
from rap.egress import Ending, JobOutcome
from rap.messages.orders import LostHost
from rap.models import CreateRequest
from rap.status import StatusCode
from rap.status_answers import shown_status
from tests.support.rap_system import RapSystem, StubHost, action, job_workflow, rap_workflow

pytestmark = pytest.mark.workflows

CANCELLED = StatusCode.CANCELLED_BY_USER
SUCCEEDED = StatusCode.SUCCEEDED
DEPENDENCY_FAILED = StatusCode.DEPENDENCY_FAILED


def completed(request: CreateRequest, name: str, exit_code: int = 0) -> JobOutcome:
    task = ids.task_id(ids.job_id(request.rap_id, name), 1)
    return JobOutcome(task_id=task, ending=Ending.COMPLETED, exit_code=exit_code)


async def test_a_job_that_has_filed_its_outputs_succeeds_although_it_is_cancelled(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}, finishing={"a"}) as host:
        request = system.request(url, "b")
        await system.create(request)
        await host.has_started("a")
        await system.reaches(request, b=StatusCode.WAITING_ON_DEPENDENCIES)
        await system.cancel(request, "a")
        jobs = await system.reaches(request, a=SUCCEEDED, b=SUCCEEDED)
        await system.has_ended(request)
    assert jobs["a"].status_message == "Completed successfully"
    assert host.runs_of("b") != []


async def test_what_a_program_left_that_failed_decides_as_well(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}, finishing={"a"}, exits={"a": 3}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.cancel(request, "a")
        await system.reaches(request, a=StatusCode.NONZERO_EXIT)
        await system.has_ended(request)


async def test_until_its_host_answers_a_job_keeps_its_status_and_says_that_it_is_being_cancelled(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}, deaf={"a"}) as host:
        request = system.request(url, "b")
        await system.create(request)
        await host.has_started("a")
        before = (await system.reaches(request, a=StatusCode.INITIATED))["a"]
        await system.cancel(request, "a")
        await system.cancel(request, "a")
        jobs = system.jobs(request)
        assert jobs["a"].status_code is before.status_code
        assert jobs["a"].completed_at is None
        assert "being cancelled" in shown_status(jobs["a"], None, 0.0)[1]
        assert jobs["b"].status_code is StatusCode.WAITING_ON_DEPENDENCIES
        assert "a" not in await system.current_jobs("ws")
        host.listen("a")
        jobs = await system.reaches(request, a=CANCELLED, b=DEPENDENCY_FAILED)
        await system.has_ended(request)
    assert jobs["a"].status_message == "Cancelled by user"
    assert jobs["a"].completed_at == jobs["a"].cancelled_at


async def test_a_job_of_another_rap_that_waits_for_it_starts_when_it_has_filed_its_outputs(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}, finishing={"a"}) as host:
        first = system.request(url, "a")
        await system.create(first)
        await host.has_started("a")
        second = system.request(url, "b")
        await system.create(second)
        await system.reaches(second, b=StatusCode.WAITING_ON_DEPENDENCIES)
        await system.cancel(first, "a")
        await system.reaches(first, a=SUCCEEDED)
        await system.reaches(second, b=SUCCEEDED)
        await system.has_ended(second)


async def _succeeded_then_cancelled_while_filing(
    system: RapSystem, host: StubHost, url: str
) -> CreateRequest:
    first = system.request(url, "a")
    await system.create(first)
    await system.has_ended(first)
    host.hold("a")
    second = system.request(url, "a")
    await system.create(second)
    await host.has_started("a", times=2)
    await system.cancel(second, "a")
    await system.has_ended(second)
    return second


async def test_the_job_before_one_that_filed_its_outputs_and_was_cancelled_is_not_reused(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(finishing={"a"}) as host:
        second = await _succeeded_then_cancelled_while_filing(system, host, url)
        assert system.jobs(second)["a"].status_code is SUCCEEDED
        host.release("a")
        third = system.request(url, "b")
        assert (await system.create(third)).count == 2
        await system.reaches(third, a=SUCCEEDED, b=SUCCEEDED)
        await system.has_ended(third)
    assert len(host.runs_of("a")) == 3


async def test_a_workspace_that_was_lost_knows_it_from_the_records(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(finishing={"a"}) as host:
        await _succeeded_then_cancelled_while_filing(system, host, url)
        host.release("a")
        workspace = ids.workspace_workflow_id(system.slug, "ws")
        await system.client.get_workflow_handle(workspace).terminate()
        third = system.request(url, "b")
        assert (await system.create(third)).count == 2
        await system.has_ended(third)


async def test_the_job_before_one_that_was_cancelled_in_time_is_reused(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host() as host:
        second = await _succeeded_then_cancelled_while_filing(system, host, url)
        assert system.jobs(second)["a"].status_code is CANCELLED
        third = system.request(url, "b")
        assert (await system.create(third)).count == 1
        await system.has_ended(third)


async def test_a_finished_job_that_is_cancelled_covers_the_one_before_it(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host():
        first, second = system.request(url, "a"), system.request(url, "a")
        for request in (first, second):
            await system.create(request)
            await system.has_ended(request)
        before = system.jobs(second)["a"]
        await system.cancel(second, "a")
        after = system.jobs(second)["a"]
        assert after._replace(cancelled_at=None) == before
        assert after.cancelled_at is not None
        third = system.request(url, "b")
        assert (await system.create(third)).count == 2
        await system.has_ended(third)


async def test_a_cancelled_job_whose_host_is_declared_lost_is_cancelled(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}, deaf={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.cancel(request, "a")
        await system.tell_backend(HOST_LOST, LostHost(host="h1"))
        await system.reaches(request, a=CANCELLED)
        await system.has_ended(request)
        host.listen("a")
        task = ids.task_id(ids.job_id(request.rap_id, "a"), 1)
        await system.until(lambda: task in host.discarded)
    assert host.decided == {task}


async def test_a_job_whose_attempt_is_terminated_meanwhile_ends_as_its_host_has_left_it(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}, deaf={"a"}) as host:
        request = system.request(url, "a")
        host.recorded["a"] = completed(request, "a")
        await system.create(request)
        await host.has_started("a")
        await system.cancel(request, "a")
        await system.client.get_workflow_handle(job_workflow(request, "a")).terminate()
        await system.reaches(request, a=SUCCEEDED)
        await system.has_ended(request)
        host.listen("a")


async def test_a_rap_that_continues_as_new_goes_on_waiting_for_the_end_of_a_cancelled_job(
    system: RapSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.rap.start.LONGEST_HISTORY", 30)
    url = system.project(action("a"), *(action(f"x{n}") for n in range(8)))
    await system.start_backend(workers=1)
    async with system.host(held={"a"}, deaf={"a"}, finishing={"a"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        await system.cancel(request, "a")
        await system.cancel(request, *(f"x{n}" for n in range(8)))
        await system.reaches(request, **{f"x{n}": CANCELLED for n in range(8)})
        host.listen("a")
        await system.reaches(request, a=SUCCEEDED)
        await system.has_ended(request)
    assert host.runs_of("x0") == []


async def test_a_rap_cancelled_in_the_web_ui_waits_for_its_hosts_too(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}, finishing={"a"}) as host:
        request = system.request(url, "b")
        await system.create(request)
        await host.has_started("a")
        await system.reaches(request, b=StatusCode.WAITING_ON_DEPENDENCIES)
        await system.client.get_workflow_handle(rap_workflow(request)).cancel()
        await system.reaches(request, a=SUCCEEDED, b=CANCELLED)
        await system.has_ended(request)
