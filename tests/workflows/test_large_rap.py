"""A RAP that continues as new while its jobs wait, run, are cancelled and end."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowExecution, WorkflowExecutionStatus, WorkflowFailureError

from rap import ids
from rap.contracts.workflows import RAP_ROWS, RAP_STATUS
from rap.messages.jobs import AttemptResult, StopReason
from rap.models import CreateRequest
from rap.status import State, StatusCode
from rap.temporal.ends import end_in
from rap.temporal.messages import query
from tests.support import rap_system
from tests.support.rap_system import RapSystem, StubHost, action, job_workflow, rap_workflow
from workflows.rap import start as rap_starting

pytestmark = pytest.mark.workflows

SUCCEEDED, CANCELLED = StatusCode.SUCCEEDED, StatusCode.CANCELLED_BY_USER
KILLED = StatusCode.KILLED_BY_ADMIN


@pytest.fixture
def longest_history(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few events that a RAP continues as new after some jobs."""
    monkeypatch.setattr(rap_starting, "LONGEST_HISTORY", 40)


async def runs_of(system: RapSystem, request: CreateRequest) -> list[WorkflowExecution]:
    """The runs of a RAP's workflow that can be listed, oldest first."""
    found = f"WorkflowId = '{rap_workflow(request)}'"
    runs = [run async for run in system.client.list_workflows(found)]
    return sorted(runs, key=lambda run: run.start_time)


async def has_continued(system: RapSystem, request: CreateRequest, times: int = 1) -> None:
    async with asyncio.timeout(600):
        while len(await runs_of(system, request)) <= times:
            await asyncio.sleep(0.1)


def fillers(count: int) -> list[str]:
    """Actions that end at once and only make the history longer."""
    return [f"filler{number}" for number in range(count)]


async def with_an_earlier_attempt(system: RapSystem, host: StubHost, *more: str) -> CreateRequest:
    """A RAP whose job ``long`` was started by a run of its workflow before the present one."""
    url = system.project(
        action("long"), *map(action, more), action("after", "long"), *map(action, fillers(8))
    )
    request = system.request(url, "run_all")
    await system.create(request)
    for name in ("long", *more):
        await host.has_started(name)
    await system.until(lambda: is_alone(system, request, "long", *more))
    await has_continued(system, request)
    return request


def is_alone(system: RapSystem, request: CreateRequest, *names: str) -> bool:
    return {name for name, job in system.jobs(request).items() if not job.status_code.is_final} == {
        *names,
        "after",
    }


def attributes_of(run: WorkflowExecution) -> dict[str, Any]:
    """What we have given a run to be found by; the server adds who worked on it, when it may."""
    return {name: value for name, value in run.search_attributes.items() if name != "BuildIds"}


async def end_of(system: RapSystem, workflow_id: str) -> AttemptResult:
    """How an attempt that failed ended."""
    with pytest.raises(WorkflowFailureError) as failed:
        await system.client.get_workflow_handle(workflow_id).result()
    result = end_in(failed.value, AttemptResult)
    assert result is not None
    return result


async def shown_by(system: RapSystem, workflow_id: str) -> str:
    """What the Web UI shows as the details of a workflow."""
    handle = system.client.get_workflow_handle(workflow_id)
    shown = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(shown.current_details)


@pytest.mark.usefixtures("longest_history")
async def test_a_job_that_an_earlier_run_started_ends_like_any_other(system: RapSystem) -> None:
    await system.start_backend(workers=3)
    async with system.host(held={"long"}, exits={"long": 3}) as host:
        request = await with_an_earlier_attempt(system, host)
        host.release("long")
        jobs = await system.reaches(
            request, long=StatusCode.NONZERO_EXIT, after=StatusCode.DEPENDENCY_FAILED
        )
        assert jobs["long"].metrics["cpu_mean"] == 1.5
        await system.has_ended(request)
    assert Counter(job.action for job in host.started) == Counter([*fillers(8), "long"])
    row = await system.backend_when(lambda row: not row.slots and not row.queue)
    assert row.slots == ()


@pytest.mark.usefixtures("longest_history")
async def test_terminating_a_job_that_an_earlier_run_started_is_noticed(system: RapSystem) -> None:
    await system.start_backend(workers=3)
    async with system.host(held={"long"}) as host:
        request = await with_an_earlier_attempt(system, host)
        job = job_workflow(request, "long")
        await system.client.get_workflow_handle(job).terminate("by hand")
        await system.reaches(request, long=KILLED, after=StatusCode.DEPENDENCY_FAILED)
        await system.has_ended(request)
        assert host.discarded == [ids.task_id(ids.job_id(request.rap_id, "long"), 1)]
    await system.backend_when(lambda row: not row.slots)


@pytest.mark.usefixtures("longest_history")
async def test_a_cancel_reaches_a_job_that_an_earlier_run_started(system: RapSystem) -> None:
    await system.start_backend(workers=3)
    async with system.host(held={"long", "other"}) as host:
        request = await with_an_earlier_attempt(system, host, "other")
        assert (await system.cancel(request, "long")).cancelled == 1
        jobs = await system.reaches(request, long=CANCELLED, after=StatusCode.DEPENDENCY_FAILED)
        assert jobs["long"].completed_at is not None
        await system.backend_when(lambda row: len(row.slots) == 1)
        # And in the Web UI, of all.
        rap = system.client.get_workflow_handle(rap_workflow(request))
        await rap.cancel()
        await system.reaches(request, other=CANCELLED)
        await system.has_ended(request)
    await system.backend_when(lambda row: not row.slots)


@pytest.mark.usefixtures("longest_history")
async def test_every_run_of_a_rap_is_shown_as_the_first(system: RapSystem) -> None:
    await system.start_backend(workers=3)
    async with system.host(held={"long"}) as host:
        request = await with_an_earlier_attempt(system, host)
        runs = await runs_of(system, request)
        assert {run.status for run in runs[:-1]} == {WorkflowExecutionStatus.CONTINUED_AS_NEW}
        first, last = runs[0], runs[-1]
        assert attributes_of(last) == attributes_of(first)
        assert str(request.commit)[:10] in await shown_by(system, last.id)
        codes = await query(system.client, RAP_STATUS, last.id)
        assert codes["filler0"] is SUCCEEDED
        rows = await query(system.client, RAP_ROWS, last.id)
        assert rows.created is not None
        assert {change.job_id for change in rows.changes} == {job.id for job in rows.created.jobs}
        host.release("long")
        await system.has_ended(request)


@pytest.mark.usefixtures("longest_history")
async def test_jobs_of_a_rap_that_is_terminated_are_stopped(system: RapSystem) -> None:
    await system.start_backend(workers=3, look_round_s=0.3)
    async with system.host(held={"long"}) as host:
        request = await with_an_earlier_attempt(system, host)
        rap = system.client.get_workflow_handle(rap_workflow(request))
        await rap.terminate("by hand")
        await system.reaches(request, long=KILLED, after=KILLED)
        job = job_workflow(request, "long")
        result = await end_of(system, job)
        assert result.stopped is StopReason.KILLED_BY_ADMIN
        await system.backend_when(lambda row: not row.slots)


async def test_three_hundred_jobs_go_through_many_runs_and_each_ends_once(
    system: RapSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rap_starting, "LONGEST_HISTORY", 400)
    monkeypatch.setattr(rap_system, "PATIENCE_S", 900)
    first = [action(f"first{number}") for number in range(100)]
    second = [action(f"second{number}", f"first{number}") for number in range(100)]
    third = [action(f"third{number}", f"second{number}", "first0") for number in range(99)]
    request = system.request(system.project(action("long"), *first, *second, *third), "run_all")
    await system.start_backend(workers=20)
    held = {"long", "first1", "first2", "first3", "second5"}
    async with system.host(held=set(held), exits={"first7": 1, "second8": 1}) as host:
        assert (await system.create(request)).count == 300
        await has_continued(system, request, times=2)
        for name in sorted(held - {"second5"}):
            await host.has_started(name)
        await system.cancel(request, "first1", "third50", "second99")
        killed = job_workflow(request, "first2")
        await system.client.get_workflow_handle(killed).terminate("by hand")
        await system.reaches(request, first1=CANCELLED, first2=KILLED)
        host.release("first3")
        host.release("second5")
        await system.reaches(request, third3=SUCCEEDED, third5=SUCCEEDED)
        host.release("long")
        await system.has_ended(request)
        runs = await runs_of(system, request)

    expected = {job.name: SUCCEEDED for job in (action("long"), *first, *second, *third)}
    expected |= {"first1": CANCELLED, "first2": KILLED}
    expected |= {"first7": StatusCode.NONZERO_EXIT, "second8": StatusCode.NONZERO_EXIT}
    for name in ("second1", "second2", "second7", "third1", "third2", "third7", "third8"):
        expected[name] = StatusCode.DEPENDENCY_FAILED
    jobs = system.jobs(request)
    # Those that were over before the cancel arrived are not cancelled.
    for name in ("third50", "second99"):
        if jobs[name].status_code is CANCELLED:
            expected[name] = CANCELLED
    assert {name: job.status_code for name, job in jobs.items()} == expected
    started = Counter(job.action for job in host.started)
    assert set(started.values()) == {1}
    ran = {name for name, code in expected.items() if code is not StatusCode.DEPENDENCY_FAILED}
    assert ran - {"third50", "second99"} <= started.keys() <= ran
    assert len(runs) > 2
    row = await system.backend_when(lambda row: not row.slots and not row.queue)
    assert (row.slots, row.queue) == ((), ())
    known = await system.current_jobs("ws")
    assert {job.state for job in known.values()} <= {State.SUCCEEDED, State.FAILED}
    assert {name for name, job in known.items() if job.state is State.SUCCEEDED} == {
        name for name, code in expected.items() if code is SUCCEEDED
    }
