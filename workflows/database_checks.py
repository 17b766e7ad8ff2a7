"""The periodic checks of a backend's database, one workflow a check, started by its schedule.

A check that comes to nothing fails with a sentence, and changes nothing: neither does it begin
database maintenance nor end it (docs/spec/controller.md 12.3).
"""

from typing import NoReturn, TypeVar

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TimeoutError,  # noqa: A004  Temporal's own
    TimeoutType,
)

with workflow.unsafe.imports_passed_through():
    from rap import ids
    from rap.contracts.activities import DATABASE_DATA_CHECK, DATABASE_STATUS
    from rap.contracts.kinds import Activity
    from rap.contracts.workflows import DATA_CHECK, DATABASE_MODE, STATUS_CHECK
    from rap.egress import DatabaseStatus, DatabaseStatusAnswer, DataCheckAnswer, Fault
    from rap.messages.checks import DatabaseCheck, DatabaseStatusOrder, DataCheckOrder
    from rap.messages.orders import DatabaseMode
    from rap.sentences import FAULT_SENTENCES
    from workflows.calls import AGENT_WAIT, on_backend, send_signal
    from workflows.image_digests import digest_of
    from workflows.texts import check_details

Order = TypeVar("Order")
Answer = TypeVar("Answer", DatabaseStatusAnswer, DataCheckAnswer)


@workflow.defn(name=STATUS_CHECK.name)
class DatabaseStatusWorkflow:
    """Asks whether the database is in maintenance, and tells the workflow of the backend."""

    @workflow.run
    async def run(self, check: DatabaseCheck) -> DatabaseStatusAnswer:
        """Make one check.

        Raises:
            ApplicationError: it came to nothing; the text says why.
        """
        _show(check)
        order = DatabaseStatusOrder(
            image=check.image, image_sha=await _digest(check), database_name=check.database_name
        )
        answer = await _ask(check, DATABASE_STATUS, order)
        mode = DatabaseMode(maintenance=answer.status is DatabaseStatus.MAINTENANCE)
        backend = ids.backend_workflow_id(check.backend)
        if not await send_signal(DATABASE_MODE, backend, mode, attempts=5):
            raise ApplicationError(
                f"The workflow {backend} does not run; the controller worker starts it when it "
                "starts",
                type="NoBackend",
            )
        return answer


@workflow.defn(name=DATA_CHECK.name)
class DatabaseDataCheckWorkflow:
    """Asks whether the hospital data reach the expected month; the answer is its result."""

    @workflow.run
    async def run(self, check: DatabaseCheck) -> DataCheckAnswer:
        """Make one check.

        Raises:
            ApplicationError: it came to nothing; the text says why.
        """
        _show(check)
        order = DataCheckOrder(
            image=check.image,
            image_sha=await _digest(check),
            hes_expected_activity_month=check.hes_expected_activity_month,
        )
        return await _ask(check, DATABASE_DATA_CHECK, order)


def _show(check: DatabaseCheck, answer: str | None = None) -> None:
    namespace = workflow.info().namespace
    workflow.set_current_details(check_details(check, namespace=namespace, answer=answer))


async def _digest(check: DatabaseCheck) -> str | None:
    """What the tag of the image stands for now; ``None`` where images are not pinned."""
    if not check.pins_image:
        return None
    try:
        answer = await digest_of(check.image)
    except ActivityError as error:
        if isinstance(error.cause, CancelledError):
            raise
        raise ApplicationError(
            f"The image registry gave no digest of {check.image}", type="NoRegistry"
        ) from error
    if answer.digest is None:
        raise ApplicationError(f"The image registry has no {check.image}", type="NoImage")
    return answer.digest


async def _ask(check: DatabaseCheck, contract: Activity[Order, Answer], order: Order) -> Answer:
    """Have an agent make the check; the answer has a status."""
    try:
        answer = await on_backend(contract, order, backend=check.backend)
    except ActivityError as error:
        _fail_without_answer(check, error)
    if answer is None or answer.status is None:
        fault = (answer and answer.fault) or Fault.UNEXPECTED
        raise ApplicationError(FAULT_SENTENCES[fault], type=fault.value)
    _show(check, answer.status.value)
    return answer


def _fail_without_answer(check: DatabaseCheck, error: ActivityError) -> NoReturn:
    """Fail for an activity that gave no answer."""
    cause = error.cause
    if isinstance(cause, CancelledError):
        raise error
    if isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START:
        raise ApplicationError(
            f"No agent of backend {check.backend} took the check within "
            f"{AGENT_WAIT.total_seconds():.0f} s; is one running?",
            type="NoAgent",
        ) from error
    if isinstance(cause, TimeoutError):
        raise ApplicationError(
            f"The agent of backend {check.backend} fell silent during the check", type="AgentLost"
        ) from error
    raise ApplicationError(
        "The check failed for a reason that only the agent's log tells", type="Unforeseen"
    ) from error
