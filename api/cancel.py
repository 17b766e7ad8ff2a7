"""Cancelling jobs of a RAP (docs/spec/rap-api.md A7)."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends

from api.access_log import request_id
from api.errors import JsonAnswer, Refused
from api.request_bodies import CANCEL, Body, reader
from api.services import Authenticated, Served
from rap.messages.workspaces import CancelRequest

CancelBody = Annotated[Body, Depends(reader(CANCEL))]


async def cancel(services: Served, client: Authenticated, body: CancelBody) -> JsonAnswer:
    """Answer a cancel request whose body is valid. All named actions are cancelled, or none.

    Raises:
        Refused: the RAP or some of the actions are unknown to this client.
        OutcomeUnknown: the order may or may not have been carried out.
    """
    rap_id, actions = body["rap_id"], body["actions"]
    async with services.in_time("Whether the jobs will be cancelled is not known."):
        jobs = await services.ask(services.records.jobs_of, [rap_id], client.backends)
        if not jobs:
            raise _not_found(f"No jobs found for rap_id {rap_id}", rap_id=rap_id)
        unknown = sorted(set(actions) - {job.action for job in jobs})
        if unknown:
            names = ",".join(unknown)
            raise _not_found(
                f"Jobs matching requested cancelled actions could not be found: {names}",
                rap_id=rap_id,
                not_found=unknown,
            )
        order = CancelRequest(rap_id=rap_id, actions=tuple(dict.fromkeys(actions)), by=_asker())
        await services.orchestrator.cancel(jobs[0].backend, jobs[0].workspace, order)
    count = len(actions)
    return JsonAnswer(
        {"result": "Success", "details": f"{count} actions cancelled", "count": count}
    )


def _asker() -> str:
    """Who asked, as far as it is known: a token names nobody, but the log has the request."""
    return f"RAP API, request {request_id.get()}" if request_id.get() else "RAP API"


def _not_found(details: str, **more: object) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, "jobs not found", details, **more)
