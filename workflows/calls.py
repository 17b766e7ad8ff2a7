"""How workflows call activities: one place for queues, time limits and retries."""

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError
from temporalio.workflow import ActivityCancellationType, ActivityHandle, ParentClosePolicy

from activities.contracts import RUN_JOB, Contract
from rap import ids
from rap.egress import JobOutcome
from rap.messages import JobAttempt, WorkspaceStart
from rap.models import Model
from rap.temporal import search_attributes
from workflows.describe import workspace_texts
from workflows.markdown import summary as named

Argument = TypeVar("Argument")
Result = TypeVar("Result")

AGENT_WAIT = timedelta(seconds=60)
"""How long a check waits for an agent to take it."""

_BACKOFF = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)
)


async def on_controller(
    contract: Contract[Argument, Result],
    argument: Argument,
    *,
    limit: timedelta,
    summary: str,
    attempts: int = 1,
) -> Result:
    """Run an activity of the controller worker.

    Args:
        contract: which one.
        argument: its argument.
        limit: for all attempts together, waiting for a worker included.
        summary: what the Web UI shows for it.
        attempts: how often it is tried; those that answer a client are tried once.
    """
    result: Result = await workflow.execute_activity(
        contract.name,
        argument,
        result_type=contract.result,
        task_queue=ids.CONTROLLER_QUEUE,
        schedule_to_close_timeout=limit,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(milliseconds=200), maximum_attempts=attempts
        ),
        summary=named(summary),
    )
    return result


async def on_records(contract: Contract[Argument, Result], argument: Argument) -> Result:
    """Write to the read model through a local activity, for as long as it takes.

    The read model may be away for a while: nothing is lost, the write goes through later.
    """
    result: Result = await workflow.execute_local_activity(
        contract.name,
        argument,
        result_type=contract.result,
        start_to_close_timeout=timedelta(seconds=20),
        retry_policy=_BACKOFF,
        # Longer waits between attempts go through a timer, so that no workflow task is held up.
        local_retry_threshold=timedelta(seconds=5),
        summary=contract.name.replace("_", " "),
    )
    return result


async def on_host(
    contract: Contract[Argument, Result], argument: Argument, *, backend: str, host: str
) -> Result:
    """Give an order to an agent host on its control queue, waiting for it if it is away.

    An order that takes longer than a minute, because the host was killed or its engine is away, is
    given again; the host carries it out once.
    """
    result: Result = await workflow.execute_activity(
        contract.name,
        argument,
        result_type=contract.result,
        task_queue=ids.control_queue(backend, host),
        start_to_close_timeout=timedelta(minutes=1),
        retry_policy=_BACKOFF,
        summary=contract.name.replace("_", " "),
    )
    return result


async def on_backend(
    contract: Contract[Argument, Result], argument: Argument, *, backend: str
) -> Result:
    """Have any agent of a backend make a check of its database.

    Without an agent it is given up after a minute, so that checks do not pile up; one that is
    killed is noticed by its missing heartbeat, and the check is made again. A cancelled check has
    ended, and its container is gone, when this raises.

    Raises:
        ActivityError: no agent took it, or none carried it to its end.
    """
    result: Result = await workflow.execute_activity(
        contract.name,
        argument,
        result_type=contract.result,
        task_queue=ids.agent_queue(backend),
        schedule_to_start_timeout=AGENT_WAIT,
        # Pulling an image takes up to twenty minutes, its program five.
        start_to_close_timeout=timedelta(minutes=30),
        heartbeat_timeout=timedelta(seconds=30),
        retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=contract.name.replace("_", " "),
    )
    return result


async def tell(
    workflow_id: str,
    signal: str,
    message: Model,
    *,
    attempts: int = 0,
    on_failure: Callable[[], None] | None = None,
) -> bool:
    """Signal another workflow, again after a pause if it is not there.

    Args:
        workflow_id: whom to tell.
        signal: the name of the signal.
        message: its argument.
        attempts: how often to try; 0 for as long as it takes.
        on_failure: is called after each try that failed.

    Returns:
        Whether the signal was delivered.
    """
    tried = 0
    while True:
        try:
            await workflow.get_external_workflow_handle(workflow_id).signal(signal, message)
        except FailureError:
            tried += 1
            if on_failure is not None:
                on_failure()
            if tried == attempts:
                workflow.logger.warning("Gave up telling %s: %s", workflow_id, signal)
                return False
            await workflow.sleep(
                min(2.0**tried, 60.0), summary=named(f"tell {workflow_id} again: {signal}")
            )
        else:
            return True


async def start_workspace_again(backend: str, workspace: str) -> None:
    """Start the workflow of a workspace that somebody terminated; it recovers what it knew."""
    texts = workspace_texts(backend, workspace)
    try:
        await workflow.start_child_workflow(
            "WorkspaceWorkflow",
            WorkspaceStart(backend=backend, workspace=workspace, recovering=True),
            id=ids.workspace_workflow_id(backend, workspace),
            parent_close_policy=ParentClosePolicy.ABANDON,
            search_attributes=search_attributes(backend=backend, workspace=workspace),
            static_summary=texts.summary,
            static_details=texts.details,
        )
    except WorkflowAlreadyStartedError:
        # A request came first, and it recovers as well.
        return


def start_run_job(attempt: JobAttempt) -> ActivityHandle[JobOutcome]:
    """Start the long activity of one attempt on its host.

    It may last for weeks; a host that is killed is noticed by the missing heartbeat, one that
    comes back hands the activity back at once. Cancelling it waits for its outcome.
    """
    return workflow.start_activity(
        RUN_JOB.name,
        attempt.definition,
        result_type=RUN_JOB.result,
        task_queue=ids.host_queue(attempt.definition.backend, attempt.host),
        start_to_close_timeout=timedelta(days=60),
        heartbeat_timeout=timedelta(seconds=60),
        retry_policy=_BACKOFF,
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=named(f"{attempt.definition.action} on {attempt.host}"),
    )
