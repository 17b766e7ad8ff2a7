"""How a workflow closed tells what came of it, so that a list of workflows needs no reading."""

from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from rap.contracts.workflows import PAUSE, PREPARE_FOR_REBOOT, RAP_ROWS
from rap.egress import Ending, Fault, JobOutcome
from rap.messages.jobs import AttemptResult
from rap.messages.orders import RebootOrder, Switch
from rap.messages.workspaces import RapEnd
from rap.models import CreateRequest
from rap.status import StatusCode
from rap.temporal.ends import end_in
from rap.temporal.messages import query
from rap.temporal.search_attributes import STATUS_CODE
from tests.support.rap_system import RapSystem, action, job_workflow, rap_workflow

pytestmark = pytest.mark.workflows

COMPLETED = WorkflowExecutionStatus.COMPLETED
FAILED = WorkflowExecutionStatus.FAILED
BENIGN = ApplicationErrorCategory.BENIGN


async def closed(system: RapSystem, workflow_id: str) -> tuple[WorkflowExecutionStatus, str]:
    """How the latest run of a workflow closed, and the status code that lists show of it."""
    described = await system.client.get_workflow_handle(workflow_id).describe()
    assert described.status is not None
    return described.status, described.typed_search_attributes[STATUS_CODE]


async def rap_closed(
    system: RapSystem, request: CreateRequest
) -> tuple[WorkflowExecutionStatus, str]:
    await system.has_ended(request)
    return await closed(system, rap_workflow(request))


async def failure(system: RapSystem, workflow_id: str) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as caught:
        await system.client.get_workflow_handle(workflow_id).result()
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def test_a_failed_job_and_its_rap_close_as_failed_with_the_sentence(
    system: RapSystem,
) -> None:
    url = system.project(action("good"), action("bad"), action("after", "bad"))
    await system.start_backend()
    async with system.host(exits={"bad": 7}):
        request = system.request(url, "run_all")
        await system.create(request)
        assert await rap_closed(system, request) == (FAILED, "nonzero_exit")
    jobs = system.jobs(request)
    assert await closed(system, job_workflow(request, "good")) == (COMPLETED, "succeeded")
    assert await closed(system, job_workflow(request, "bad")) == (FAILED, "nonzero_exit")

    error = await failure(system, job_workflow(request, "bad"))
    assert error.message == jobs["bad"].status_message
    assert (error.type, error.category) == ("nonzero_exit", BENIGN)
    result = end_in(error, AttemptResult)
    assert result is not None
    assert (result.code, result.attempt) == (StatusCode.NONZERO_EXIT, 1)
    assert result.outcome is not None
    assert result.outcome.exit_code == 7
    assert result.ended_at >= result.began_at > 0

    error = await failure(system, rap_workflow(request))
    assert error.message == "2 of 3 jobs failed. bad: Job exited with an error"
    assert (error.type, error.category) == ("nonzero_exit", BENIGN)
    end = end_in(error, RapEnd)
    assert end is not None
    codes = dict(zip(("good", "bad", "after"), end.codes, strict=True))
    assert codes == {name: job.status_code for name, job in jobs.items()}
    assert end.attempts == (1, 1, 1)
    assert end.started_at[2] is None
    assert all(
        ended >= (began or 0) for began, ended in zip(end.started_at, end.ended_at, strict=True)
    )


async def test_a_job_that_its_user_cancelled_is_no_failure(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"), action("x"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        await system.cancel(request, "a")
        assert await rap_closed(system, request) == (COMPLETED, "cancelled_by_user")
    assert await closed(system, job_workflow(request, "a")) == (COMPLETED, "cancelled_by_user")
    assert system.jobs(request)["b"].status_code is StatusCode.DEPENDENCY_FAILED


async def test_a_failure_counts_more_than_a_cancel(system: RapSystem) -> None:
    url = system.project(action("a"), action("x"))
    await system.start_backend()
    async with system.host(held={"a"}, exits={"x": 1}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        await system.cancel(request, "a")
        assert await rap_closed(system, request) == (FAILED, "nonzero_exit")


async def test_an_attempt_that_is_sent_back_to_waiting_is_no_failure(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.tell_backend(PREPARE_FOR_REBOOT, RebootOrder(by="op"))
        await system.reaches(request, a=StatusCode.WAITING_ON_REBOOT)
        assert await closed(system, job_workflow(request, "a")) == (COMPLETED, "waiting_on_reboot")
        host.release("a")
        await system.tell_backend(PAUSE, Switch(on=False, by="op"))
        assert await rap_closed(system, request) == (COMPLETED, "succeeded")
    end = await system.client.get_workflow_handle(
        rap_workflow(request), result_type=RapEnd
    ).result()
    assert (end.codes, end.attempts) == ((StatusCode.SUCCEEDED,), (2,))


async def test_a_job_that_is_cancelled_in_the_web_ui_closes_as_failed(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.client.get_workflow_handle(job_workflow(request, "a")).cancel()
        assert await rap_closed(system, request) == (FAILED, "killed_by_admin")
    assert await closed(system, job_workflow(request, "a")) == (FAILED, "killed_by_admin")


async def test_the_rows_of_a_closed_rap_can_be_read_from_its_workflow(system: RapSystem) -> None:
    url = system.project(action("a"), action("b"))
    fault = JobOutcome(task_id="t", ending=Ending.FAILED, fault=Fault.COMMIT_UNAVAILABLE)
    await system.start_backend()
    async with system.host(outcomes={"b": [fault]}):
        request = system.request(url, "run_all")
        await system.create(request)
        await system.has_ended(request)
    rows = await query(system.client, RAP_ROWS, rap_workflow(request))
    stored = system.jobs(request)
    assert rows.created is not None
    assert [row.id for row in rows.created.jobs] == [stored["a"].id, stored["b"].id]
    last: dict[str, Any] = {change.job_id: change for change in rows.changes}
    for job in stored.values():
        change = last[job.id]
        assert (change.code, change.message) == (job.status_code, job.status_message)
        assert change.attempt == job.attempt
    assert last[stored["a"].id].metrics is not None
