"""Creating a RAP (docs/spec/rap-api.md A6).

The order of the steps is what makes an answer certain: the intent is written before the order is
sent, and a JSON error is answered only when no job of this RAP exists or ever will. What is not
decided in time, or not now, is carried through by :mod:`api.offering`.
"""

import time
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import Depends

from api.errors import JsonAnswer, OutcomeUnknown, Refused
from api.request_bodies import CREATE, Body, reader
from api.services import Authenticated, Served, Services
from rap.deadlines import API_S, WORKSPACE_S
from rap.messages.workspaces import CreateAnswer, CreateOutcome
from rap.models import CreateRequest
from rap.records import StoredJob
from rap.rows import Intent, IntentSettlement, IntentState
from rap.telemetry import traces

log = structlog.get_logger()

_NOT_KNOWN = "What became of the request is not known yet."
_OURS = ("budget", "number")
_WAY_BACK_S = API_S - WORKSPACE_S
_LEAST_S = 1.0

CreateBody = Annotated[Body, Depends(reader(CREATE))]


async def create(services: Served, client: Authenticated, body: CreateBody) -> JsonAnswer:
    """Answer a create request whose body is valid.

    Raises:
        Refused: nothing was created, nor will be.
        OutcomeUnknown: something may have been or may yet be created.
    """
    if body["backend"] not in client.backends:
        raise _not_created("Unknown error")
    began = time.monotonic()
    given = {name: value for name, value in body.items() if name not in _OURS}
    request = CreateRequest.model_validate(given)
    async with services.in_time(_NOT_KNOWN):
        return await _create(services, request, began)


async def _create(services: Services, request: CreateRequest, began: float) -> JsonAnswer:
    records = services.records
    known = await services.ask_again(records.rap, request.rap_id)
    if known:
        return _known_already(request, known)
    standing = await services.ask_again(records.announce, _intent(request))
    if standing.state is IntentState.ACCEPTED:
        # Another create of this RAP was accepted since we looked.
        known = await services.ask(records.rap, request.rap_id)
        if known:
            return _known_already(request, known)
    elif (standing.backend, standing.workspace) != (request.backend, request.workspace):
        raise OutcomeUnknown("A request for this RAP in another workspace is being decided.")
    left = services.timeout - (time.monotonic() - began)
    request = request.model_copy(
        update={"number": standing.number, "budget": max(left - _WAY_BACK_S, _LEAST_S)}
    )
    with traces.span("api", "create_jobs", _told_of(request)):
        answer = await services.orchestrator.create(request)
    if answer.outcome is CreateOutcome.INCONSISTENT:
        await _withdraw(services, request)
    return _answer(request, answer)


def _told_of(request: CreateRequest) -> dict[str, str]:
    """What the span of a create says (docs/spec/rap-api.md A11)."""
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
        case CreateOutcome.FAILED:
            raise _not_created("Unknown error")
        case CreateOutcome.NOT_NOW:
            log.warning("A create cannot be decided yet", rap=rap_id, reason=answer.details)
            raise OutcomeUnknown(_NOT_KNOWN)
        case CreateOutcome.INCONSISTENT:
            raise Refused(
                HTTPStatus.BAD_REQUEST,
                "Inconsistent request data",
                f"Jobs already created for rap_id '{rap_id}' are inconsistent with request data",
            )
        case CreateOutcome.CREATED:
            log.info("RAP created", rap=rap_id, workspace=request.workspace, jobs=answer.count)
            result, details = "Success", f"Jobs created for rap_id '{rap_id}'"
        case CreateOutcome.NO_CHANGE:
            result, details = "No change", f"Jobs already created for rap_id '{rap_id}'"
        case CreateOutcome.NOTHING_TO_DO:
            result, details = "Nothing to do", answer.details
    created = answer.outcome is CreateOutcome.CREATED
    return JsonAnswer(
        {"result": result, "details": details, "rap_id": rap_id, "count": answer.count},
        status_code=HTTPStatus.CREATED if created else HTTPStatus.OK,
    )


def _not_created(details: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, "Error creating jobs", details)


def _intent(request: CreateRequest) -> Intent:
    return Intent(
        rap_id=request.rap_id,
        backend=request.backend,
        workspace=request.workspace,
        repo_url=request.repo_url,
        commit=request.commit,
        request=request.model_dump_json(),
    )


async def _withdraw(services: Services, request: CreateRequest) -> None:
    settlement = IntentSettlement(
        rap_id=request.rap_id, state=IntentState.REFUSED, number=request.number
    )
    await services.ask(services.records.settle, settlement)
