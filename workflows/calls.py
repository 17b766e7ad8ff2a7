"""How workflows call activities and signal and start each other: queues, time limits, retries."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RawValue, RetryPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from rap import deadlines, ids
from rap.contracts.activities import AWAIT_ATTEMPTS, DISCARD_JOB, RUN_JOB, UNFORESEEN
from rap.contracts.kinds import Activity, Signal, Workflow
from rap.egress import Acknowledged
from rap.messages.backends import WorkflowIds
from rap.messages.jobs import AttemptEnds, DiscardOrder, JobAttempt
from rap.models import JobDefinition
from rap.temporal.start_options import StartOptions
from workflows.markdown import summary as named

Argument = TypeVar("Argument")
Result = TypeVar("Result")

AGENT_WAIT = timedelta(seconds=60)
"""How long a check waits for an agent to take it."""

_BACKOFF = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)
)


async def on_controller(
    contract: Activity[Argument, Result],
    argument: Argument,
    *,
    limit: timedelta,
    summary: str,
    attempts: int = 1,
) -> Result:
    """Run an activity of the controller worker; if a client waits for it, see :func:`for_client`.

    The ``limit`` is for all ``attempts`` together, waiting for a worker included.
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


async def await_attempts(workflow_ids: tuple[str, ...]) -> AttemptEnds:
    """Wait until one of these attempts has ended, or for some time; tells all that have.

    A controller that is killed meanwhile is noticed by its missing heartbeat.
    """
    result: AttemptEnds = await workflow.execute_activity(
        AWAIT_ATTEMPTS.name,
        WorkflowIds(ids=workflow_ids),
        result_type=AWAIT_ATTEMPTS.result,
        task_queue=ids.CONTROLLER_QUEUE,
        start_to_close_timeout=timedelta(hours=1),
        heartbeat_timeout=timedelta(seconds=60),
        retry_policy=_BACKOFF,
        summary=f"await the end of {len(workflow_ids)} jobs that were started before",
    )
    return result


async def for_client(
    contract: Activity[Argument, Result], argument: Argument, *, until: float, summary: str
) -> Result:
    """Run an activity of the controller whose result a client waits for, up to some moment.

    It is tried a few times within that time. One whose controller was killed is noticed by its
    missing signs of life, one whose controller stops is given back.

    Raises:
        ActivityError: time was up, it failed each time, or in a way nobody foresaw.
    """
    left = max(until - workflow.time(), 0.1)
    result: Result = await workflow.execute_activity(
        contract.name,
        argument,
        result_type=contract.result,
        task_queue=ids.CONTROLLER_QUEUE,
        schedule_to_close_timeout=timedelta(seconds=left),
        heartbeat_timeout=deadlines.SILENCE,
        # At once, a second and four seconds later: what passes takes a while.
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1),
            backoff_coefficient=3,
            maximum_attempts=deadlines.TRIES,
        ),
        summary=named(summary),
    )
    return result


async def at_once(contract: Activity[Argument, Result], argument: Argument) -> Result:
    """Run a local activity once, for a few seconds: the workflow does nothing else meanwhile.

    Raises:
        ActivityError: it failed, or took longer.
    """
    result: Result = await workflow.execute_local_activity(
        contract.name,
        argument,
        result_type=contract.result,
        schedule_to_close_timeout=timedelta(seconds=deadlines.WARM_S),
        retry_policy=RetryPolicy(maximum_attempts=1),
        summary=contract.name.replace("_", " "),
    )
    return result


def passes(error: ActivityError) -> bool:
    """Whether what an activity failed at may be gone when it is tried later."""
    cause = error.cause
    return not (isinstance(cause, ApplicationError) and cause.type == UNFORESEEN)


def why_not_now(error: ActivityError) -> str:
    """What stands in the way, in a sentence for operators."""
    if isinstance(error.cause, ApplicationError):
        return error.cause.message
    return "The controller did not do it in time."


async def on_records(contract: Activity[Argument, Result], argument: Argument) -> Result:
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
    contract: Activity[Argument, Acknowledged],
    argument: Argument,
    *,
    backend: str,
    host: str,
    within: timedelta | None = None,
) -> None:
    """Give an order to an agent host on its control queue, waiting for it if it is away.

    An order that takes longer than a minute, because the host was killed or its engine is away, is
    given again; the host carries it out once.

    Raises:
        ActivityError: it was not carried out ``within`` that time.
    """
    await workflow.execute_activity(
        contract.name,
        argument,
        result_type=RawValue,
        task_queue=ids.control_queue(backend, host),
        schedule_to_close_timeout=within,
        start_to_close_timeout=timedelta(minutes=1),
        retry_policy=_BACKOFF,
        summary=contract.name.replace("_", " "),
    )


async def discard(definition: JobDefinition, host: str, *, within: timedelta | None = None) -> None:
    """Have a host make sure that nothing of an attempt is left there; as :func:`on_host`."""
    order = DiscardOrder(definition=definition)
    await on_host(DISCARD_JOB, order, backend=definition.backend, host=host, within=within)


async def on_backend(
    contract: Activity[Argument, Result], argument: Argument, *, backend: str
) -> Result | None:
    """Have any agent of a backend make a check of its database.

    Without an agent it is given up after a minute, so that checks do not pile up; one that is
    killed is noticed by its missing heartbeat, and the check is made again. A cancelled check has
    ended, and its container is gone, when this raises.

    ``None`` stands for an answer that is none.

    Raises:
        ActivityError: no agent took it, or none carried it to its end.
    """
    answer: RawValue = await workflow.execute_activity(
        contract.name,
        argument,
        result_type=RawValue,
        task_queue=ids.agent_queue(backend),
        schedule_to_start_timeout=AGENT_WAIT,
        # Pulling an image takes up to twenty minutes, its program five.
        start_to_close_timeout=timedelta(minutes=30),
        heartbeat_timeout=timedelta(seconds=30),
        retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=3),
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=contract.name.replace("_", " "),
    )
    return from_agent(answer, contract)


def from_agent(answer: RawValue, contract: Activity[Argument, Result]) -> Result | None:
    """What an agent answered; ``None`` for what is no such answer.

    Agents are not believed without a look, and an answer that nobody can read must not fail the
    workflow's task: it would be tried for ever, and hold what the workflow holds.
    """
    try:
        read: Result = workflow.payload_converter().from_payload(answer.payload, contract.result)
    except Exception as error:  # noqa: BLE001 - whatever a converter makes of foreign bytes
        workflow.logger.warning("no answer to %s: %s", contract.name, type(error).__name__)
        return None
    return read


async def send_signal(
    contract: Signal[Argument],
    workflow_id: str,
    argument: Argument,
    *,
    attempts: int = 0,
    before_each: Callable[[], Awaitable[None]] | None = None,
    on_failure: Callable[[], None] | None = None,
) -> bool:
    """Signal another workflow, again after a pause if it is not there.

    Says whether the signal was delivered within so many ``attempts``; 0: for as long as it takes.
    ``before_each`` of them may hold it back.
    """
    tried = 0
    while True:
        if before_each is not None:
            await before_each()
        try:
            handle = workflow.get_external_workflow_handle(workflow_id)
            await handle.signal(contract.name, argument)
        except FailureError:
            tried += 1
            if on_failure is not None:
                on_failure()
            if tried == attempts:
                workflow.logger.warning("Gave up signalling %s: %s", workflow_id, contract.name)
                return False
            await workflow.sleep(
                min(2.0**tried, 60.0), summary=named(f"tell {workflow_id} again: {contract.name}")
            )
        else:
            return True


async def start_child(
    contract: Workflow[Argument, Result],
    argument: Argument,
    options: StartOptions,
    *,
    when_parent_closes: workflow.ParentClosePolicy,
    reuse_id: bool = True,
    within: timedelta | None = None,
) -> workflow.ChildWorkflowHandle[Any, Result]:
    """Start a workflow as a child of this one, to run ``within`` some time if that is given.

    Raises:
        WorkflowAlreadyStartedError: one of this id runs, or has ended and ids are not reused.
    """
    policies = WorkflowIDReusePolicy
    child: workflow.ChildWorkflowHandle[Any, Result] = await workflow.start_child_workflow(
        contract.name,
        argument,
        result_type=contract.result,
        parent_close_policy=when_parent_closes,
        id_reuse_policy=policies.ALLOW_DUPLICATE if reuse_id else policies.REJECT_DUPLICATE,
        execution_timeout=within,
        **options,
    )
    if when_parent_closes is workflow.ParentClosePolicy.ABANDON:
        # Nobody waits for its end, so nobody is told if it failed.
        child.add_done_callback(_forget)
    return child


def _forget(child: asyncio.Future[Any]) -> None:
    if not child.cancelled():
        child.exception()


def start_run_job(attempt: JobAttempt) -> workflow.ActivityHandle[RawValue]:
    """Start the long activity of one attempt on its host; :func:`from_agent` reads its outcome.

    It may last for weeks; a host that is killed is noticed by the missing heartbeat, one that
    comes back hands the activity back at once. Cancelling it waits for its outcome.
    """
    return workflow.start_activity(
        RUN_JOB.name,
        attempt.definition,
        result_type=RawValue,
        task_queue=ids.host_queue(attempt.definition.backend, attempt.host),
        start_to_close_timeout=timedelta(days=60),
        heartbeat_timeout=timedelta(seconds=60),
        retry_policy=_BACKOFF,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=named(f"{attempt.definition.action} on {attempt.host}"),
    )
