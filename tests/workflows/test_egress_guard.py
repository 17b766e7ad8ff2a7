"""What an activity of an agent leaves in the history of its workflow, with a real server."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from rap.egress import Acknowledged, JobOutcome
from worker_agent.egress_guard import AgentRestart, EgressGuard

pytestmark = pytest.mark.workflows

SECRET = "patient-4711"
tries: list[Any] = []


class Unforeseen(Exception):
    pass


@activity.defn
async def leak_in_error() -> Acknowledged:
    try:
        int(SECRET)
    except ValueError as error:
        raise Unforeseen(SECRET) from error
    raise AssertionError


@activity.defn
async def leak_in_result() -> dict:
    return {"file": SECRET}


@activity.defn
async def leak_in_heartbeat() -> Acknowledged:
    activity.heartbeat(SECRET)
    raise RuntimeError(SECRET)


@activity.defn
async def restart_once() -> Acknowledged:
    tries.append(activity.info().attempt)
    if activity.info().attempt == 1:
        raise AgentRestart(0.01)
    return Acknowledged()


@activity.defn
async def wait_for_cancel() -> Acknowledged:
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.05)


@workflow.defn(sandboxed=False)
class Calls:
    @workflow.run
    async def run(self, name: str) -> None:
        await workflow.execute_activity(
            name,
            start_to_close_timeout=timedelta(seconds=20),
            heartbeat_timeout=timedelta(seconds=5),
            retry_policy=RetryPolicy(maximum_attempts=2),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )


@pytest.fixture
def call(client: Client) -> Any:
    async def start(name: Any, then: Any = None) -> Any:
        queue = f"guard-{uuid4().hex}"
        async with Worker(
            client,
            task_queue=queue,
            workflows=[Calls],
            activities=[
                leak_in_error, leak_in_result, leak_in_heartbeat, restart_once, wait_for_cancel,
            ],
            interceptors=[EgressGuard()],
            workflow_runner=UnsandboxedWorkflowRunner(),
        ):  # fmt: skip
            handle = await client.start_workflow(Calls.run, name, id=queue, task_queue=queue)
            if then is not None:
                await then(handle)
            error = None
            try:
                await handle.result()
            except WorkflowFailureError as failure:
                error = failure.cause
            history = (await handle.fetch_history()).to_json()
        return error, history

    return start


@pytest.mark.parametrize("name", ["leak_in_error", "leak_in_heartbeat"])
async def test_an_error_leaves_as_the_name_of_its_class_alone(call: Any, name: Any) -> None:
    error, history = await call(name)
    expected = {"leak_in_error": "Unforeseen", "leak_in_heartbeat": "RuntimeError"}[name]
    assert (error.cause.type, error.cause.message) == (expected, expected)
    assert error.cause.cause is None
    assert SECRET not in history
    assert "ValueError" not in history


async def test_a_result_that_is_no_egress_type_does_not_leave(call: Any) -> None:
    error, history = await call("leak_in_result")
    assert error.cause.type == "EgressRefused"
    assert error.cause.non_retryable
    assert SECRET not in history
    assert "cGF0aWVudC00NzEx" not in history  # nor in the base64 of a payload


async def test_an_activity_that_is_given_back_is_tried_again(call: Any) -> None:
    tries.clear()
    error, _ = await call("restart_once")
    assert error is None
    assert tries == [1, 2]


async def test_a_cancel_passes_as_a_cancel(call: Any) -> None:
    async def cancel(handle: Any) -> None:
        while not (await handle.describe()).raw_description.pending_activities:
            await asyncio.sleep(0.05)
        await handle.cancel()

    error, history = await call("wait_for_cancel", cancel)
    assert type(error).__name__ == "CancelledError"
    assert "ACTIVITY_TASK_CANCELED" in history


def test_the_types_that_may_leave_hold_no_text_from_a_container() -> None:
    free = {
        name
        for name, field in JobOutcome.model_fields.items()
        if field.annotation in (str, str | None)
    }
    assert free == {"task_id", "image_id"}
