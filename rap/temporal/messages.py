"""How clients of Temporal start our workflows and send them messages: by contract, type-checked.

Workflows among themselves use :mod:`workflows.calls`.
"""

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from rap.contracts.kinds import Query, Signal, Update, Workflow
from rap.temporal.start_options import StartOptions

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Start = TypeVar("Start")


async def start_workflow(
    client: Client,
    contract: Workflow[Argument, Result],
    argument: Argument,
    options: StartOptions,
    *,
    first: tuple[Signal[Start], Start] | None = None,
) -> WorkflowHandle[Any, Result]:
    """Start a workflow unless it runs already; the signal ``first`` reaches it in either case."""
    handle: WorkflowHandle[Any, Result] = await client.start_workflow(
        contract.name,
        argument,
        result_type=contract.result,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal=first[0].name if first else None,
        start_signal_args=[first[1]] if first else [],
        **options,
    )
    return handle


async def send_signal(
    client: Client,
    contract: Signal[Argument],
    workflow_id: str,
    argument: Argument,
    *,
    within: timedelta | None = None,
) -> None:
    """Send a signal.

    Raises:
        RPCError: it was not taken, or not in time.
    """
    handle = client.get_workflow_handle(workflow_id)
    await handle.signal(contract.name, argument, rpc_timeout=within)


async def query(
    client: Client, contract: Query[Result], workflow_id: str, *, within: timedelta | None = None
) -> Result:
    """Ask a query.

    Raises:
        RPCError: no answer came, or not in time.
        WorkflowQueryFailedError: the workflow failed at it.
        WorkflowQueryRejectedError: the workflow does not take it now.
    """
    handle = client.get_workflow_handle(workflow_id)
    answer: Result = await handle.query(
        contract.name, result_type=contract.result, rpc_timeout=within
    )
    return answer


async def execute_update(
    client: Client,
    contract: Update[Argument, Result],
    workflow_id: str,
    argument: Argument,
    *,
    within: timedelta | None = None,
) -> Result:
    """Send an update and wait for its answer.

    Raises:
        RPCError: it was not taken, or not in time.
        WorkflowUpdateFailedError: the workflow failed at it.
        WorkflowUpdateRPCTimeoutOrCancelledError: it was taken, but no answer came in time.
    """
    handle = client.get_workflow_handle(workflow_id)
    answer: Result = await handle.execute_update(
        contract.name, argument, result_type=contract.result, rpc_timeout=within
    )
    return answer


async def execute_update_with_start(
    client: Client,
    contract: Update[Argument, Result],
    argument: Argument,
    start: tuple[Workflow[Start, Any], Start],
    options: StartOptions,
    *,
    within: timedelta | None = None,
) -> Result:
    """As :func:`execute_update`, to a workflow that is started first if it does not run.

    ``start`` is that workflow with its argument, ``options`` are its own.
    """
    workflow, its_argument = start
    operation: WithStartWorkflowOperation[Any, Any] = WithStartWorkflowOperation(
        workflow.name,
        its_argument,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        **options,
    )
    try:
        answer: Result = await client.execute_update_with_start_workflow(
            contract.name,
            argument,
            result_type=contract.result,
            start_workflow_operation=operation,
            rpc_timeout=within,
        )
        return answer
    finally:
        # The start's own answer is of no interest, but left alone it would be reported as an
        # exception that nobody retrieved.
        with suppress(RPCError, TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(0):
                await operation.workflow_handle()
