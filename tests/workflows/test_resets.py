"""An operator resets a workflow to an earlier task: the system comes to the same end all the same.

No job runs twice at once, none that has ended runs again, and nobody waits for ever.
"""

import asyncio
from collections.abc import Iterator
from enum import StrEnum
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle

from rap import ids
from rap.contracts.workflows import PAUSE, PREPARE_FOR_REBOOT
from rap.messages.orders import RebootOrder, Switch
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, StubHost, action, job_workflow, rap_workflow

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED


class Point(StrEnum):
    """Where operators reset a workflow to."""

    FIRST = "first"
    LAST = "last"


SIGNAL = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL
POINTS = pytest.mark.parametrize("point", list(Point))


async def reset(system: RapSystem, workflow_id: str, point: Point, *, reapply: bool = True) -> None:
    """Reset a workflow as ``temporal workflow reset --type FirstWorkflowTask`` does."""
    handle: WorkflowHandle = system.client.get_workflow_handle(workflow_id)
    history = await handle.fetch_history()
    tasks = [
        event.event_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    ]
    await system.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=system.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=history.run_id),
            reason="by hand",
            workflow_task_finish_event_id=tasks[0 if point is Point.FIRST else -1],
            request_id=str(uuid4()),
            reset_reapply_exclude_types=[] if reapply else [SIGNAL],
        )
    )


def each_ran_once(host: StubHost) -> Iterator[bool]:
    for name in {one.action for one in host.started}:
        yield len(host.runs_of(name)) == 1


@POINTS
@pytest.mark.parametrize("reapply", [True, False], ids=["reapplied", "forgotten"])
async def test_a_rap(system: RapSystem, point: Point, reapply: bool) -> None:
    url = system.project(action("a"), action("b"), action("c", "a", "b"))
    await system.start_backend()
    async with system.host(held={"b"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await system.reaches(request, a=SUCCEEDED)
        await host.has_started("b")
        await reset(system, rap_workflow(request), point, reapply=reapply)
        await asyncio.sleep(1)
        host.release("b")
        await system.reaches(request, a=SUCCEEDED, b=SUCCEEDED, c=SUCCEEDED)
        await system.has_ended(request)
        await system.backend_when(lambda row: not row.slots and not row.queue)
    assert all(each_ran_once(host)), [one.task_id for one in host.started]
    assert host.discarded == host.terminated == []


@POINTS
async def test_a_rap_that_has_ended(system: RapSystem, point: Point) -> None:
    url = system.project(action("a"), action("b"))
    await system.start_backend()
    async with system.host(exits={"b": 1}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await system.has_ended(request)
        before = system.jobs(request)
        await reset(system, rap_workflow(request), point)
        await system.has_ended(request)
        await system.backend_when(lambda row: not row.slots and not row.queue)
    assert all(each_ran_once(host)), [one.task_id for one in host.started]
    assert system.jobs(request) == before


@POINTS
async def test_a_rap_whose_job_is_at_its_second_attempt(system: RapSystem, point: Point) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.tell_backend(PREPARE_FOR_REBOOT, RebootOrder(by="op"))
        await system.reaches(request, a=StatusCode.WAITING_ON_REBOOT)
        await system.tell_backend(PAUSE, Switch(on=False))
        await host.has_started("a", times=2)
        await reset(system, rap_workflow(request), point)
        await asyncio.sleep(1)
        host.release("a")
        await system.reaches(request, a=SUCCEEDED)
        await system.has_ended(request)
        await system.backend_when(lambda row: not row.slots and not row.queue)
    assert len(host.runs_of("a")) == 2


@POINTS
async def test_a_job(system: RapSystem, point: Point) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        await reset(system, job_workflow(request, "a"), point)
        await asyncio.sleep(1)
        host.release("a")
        await system.has_ended(request)
        await system.backend_when(lambda row: not row.slots and not row.queue)
    jobs = system.jobs(request)
    assert (jobs["a"].status_code, jobs["b"].status_code) == (SUCCEEDED, SUCCEEDED)
    assert set(host.runs_of("a")) == {f"{jobs['a'].id}-001"}
    assert host.discarded == host.terminated == []


@POINTS
async def test_a_workspace(system: RapSystem, point: Point) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        first = system.request(url, "a")
        await system.create(first)
        await host.has_started("a")
        second = system.request(url, "b")
        await system.create(second)
        await reset(system, ids.workspace_workflow_id(system.slug, "ws"), point)
        repeated = await system.create(first)
        assert repeated.outcome.value == "no_change"
        host.release("a")
        await system.reaches(second, b=SUCCEEDED)
        await system.has_ended(first)
        await system.has_ended(second)
        known = await system.current_jobs("ws")
        assert {name: job.state.value for name, job in known.items()} == {
            "a": "succeeded",
            "b": "succeeded",
        }
    assert all(each_ran_once(host))


@POINTS
async def test_a_backend(system: RapSystem, point: Point) -> None:
    url = system.project(action("a"), action("b"), action("c", "a"))
    await system.start_backend(workers=1, look_round_s=0.3)
    async with system.host(held={"a"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        await reset(system, ids.backend_workflow_id(system.slug), point)
        await asyncio.sleep(1)
        await system.report(host)
        host.release("a")
        await system.has_ended(request)
        await system.backend_when(lambda row: not row.slots and not row.queue)
    assert all(each_ran_once(host))


@POINTS
async def test_a_job_that_has_ended(system: RapSystem, point: Point) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host() as host:
        request = system.request(url, "a")
        await system.create(request)
        await system.has_ended(request)
        before = system.jobs(request)
        await reset(system, job_workflow(request, "a"), point)
        await system.client.get_workflow_handle(job_workflow(request, "a")).result()
    # Its host tells the same end again: it knows the attempt.
    assert set(host.runs_of("a")) == {f"{before['a'].id}-001"}
    assert system.jobs(request) == before
