"""Creating a RAP (rap-api.md A6).

The order of the steps is what makes an answer certain: the intent is written before the order is
sent, and a JSON error is answered only when no job of this RAP exists or ever will.
"""

import asyncio
import time
from http import HTTPStatus

import structlog

from api.auth import Client
from api.bodies import Body
from api.errors import JsonAnswer, OutcomeUnknown, Refused
from api.orchestrator import OrderFailed, OrderLost
from api.services import Services
from rap import tracing
from rap.messages import CreateAnswer, CreateOutcome
from rap.models import CreateRequest
from rap.records import StoredJob
from rap.rows import Intent, IntentSettlement, IntentState

log = structlog.get_logger()


async def create(services: Services, client: Client, body: Body) -> JsonAnswer:
    """Answer a create request whose body is valid.

    Raises:
        Refused: nothing was created, nor will be.
        OutcomeUnknown: something may have been or may yet be created.
    """
    if body["backend"] not in client.backends:
        raise _not_created("Unknown error")
    request = CreateRequest.model_validate({**body, "asked_at": time.time()})
    try:
        async with asyncio.timeout(services.timeout):
            return await _create(services, request)
    except (TimeoutError, OrderLost) as error:
        raise OutcomeUnknown("What became of the request is not known yet.") from error


async def _create(services: Services, request: CreateRequest) -> JsonAnswer:
    records = services.records
    known = await services.ask(records.rap, request.rap_id)
    if known:
        return _known_already(request, known)
    standing = await services.ask(records.announce, _intent(request))
    if standing.state is IntentState.ACCEPTED:
        # Another create of this RAP was accepted since we looked.
        known = await services.ask(records.rap, request.rap_id)
        if known:
            return _known_already(request, known)
    elif (standing.backend, standing.workspace) != (request.backend, request.workspace):
        raise OutcomeUnknown("A request for this RAP in another workspace is being decided.")
    try:
        with tracing.span("api", "create_jobs", _told_of(request)):
            answer = await services.orchestrator.create(request)
    except OrderFailed as error:
        await _withdraw(services, request)
        raise _not_created("Unknown error") from error
    if answer.outcome is CreateOutcome.INCONSISTENT:
        await _withdraw(services, request)
    return _answer(request, answer)


def _told_of(request: CreateRequest) -> dict[str, str]:
    """What the span of a create says (rap-api.md A11)."""
    return {
        "backend": request.backend,
        "workspace": request.workspace,
        "user": request.created_by,
        "project": request.project,
        "orgs": ",".join(request.orgs),
        "rap_id": request.rap_id,
    }


def _known_already(request: CreateRequest, known: list[StoredJob]) -> JsonAnswer:
    asked = (request.repo_url, request.workspace, request.commit)
    same = all((job.repo_url, job.workspace, job.commit) == asked for job in known)
    outcome = CreateOutcome.NO_CHANGE if same else CreateOutcome.INCONSISTENT
    return _answer(request, CreateAnswer(outcome=outcome, count=len(known)))


def _answer(request: CreateRequest, answer: CreateAnswer) -> JsonAnswer:
    rap_id = request.rap_id
    match answer.outcome:
        case CreateOutcome.REFUSED:
            raise _not_created(answer.details)
        case CreateOutcome.INCONSISTENT:
            raise Refused(
                HTTPStatus.BAD_REQUEST,
                "Inconsistent request data",
                f"Jobs already created for rap_id '{rap_id}' are inconsistent with request data",
            )
        case CreateOutcome.CREATED:
            log.info("RAP created", rap=rap_id, workspace=request.workspace, jobs=answer.count)
            status, result, details = (
                HTTPStatus.CREATED,
                "Success",
                f"Jobs created for rap_id '{rap_id}'",
            )
        case CreateOutcome.NO_CHANGE:
            status, result, details = (
                HTTPStatus.OK,
                "No change",
                f"Jobs already created for rap_id '{rap_id}'",
            )
        case CreateOutcome.NOTHING_TO_DO:
            status, result, details = HTTPStatus.OK, "Nothing to do", answer.details
    body = {"result": result, "details": details, "rap_id": rap_id, "count": answer.count}
    return JsonAnswer(body, status_code=status)


def _not_created(details: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, "Error creating jobs", details)


def _intent(request: CreateRequest) -> Intent:
    return Intent(
        rap_id=request.rap_id,
        backend=request.backend,
        workspace=request.workspace,
        repo_url=request.repo_url,
        commit=request.commit,
        created_at=request.asked_at,
    )


async def _withdraw(services: Services, request: CreateRequest) -> None:
    settlement = IntentSettlement(
        rap_id=request.rap_id, state=IntentState.REFUSED, asked_at=request.asked_at
    )
    await services.ask(services.records.settle, settlement)
