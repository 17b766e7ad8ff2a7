"""Cancelling jobs of a RAP (rap-api.md A7)."""

import asyncio
import time
from http import HTTPStatus

from api.auth import Client
from api.bodies import Body
from api.errors import JsonAnswer, OutcomeUnknown, Refused
from api.observation import request_id
from api.orchestrator import OrderFailed, OrderLost
from api.services import Services
from rap.messages import CancelRequest


async def cancel(services: Services, client: Client, body: Body) -> JsonAnswer:
    """Answer a cancel request whose body is valid. All named actions are cancelled, or none.

    Raises:
        Refused: the RAP or some of the actions are unknown to this client.
        OutcomeUnknown: the order may or may not have been carried out.
    """
    rap_id, actions = body["rap_id"], body["actions"]
    at = time.time()
    try:
        async with asyncio.timeout(services.timeout):
            jobs = await services.ask(services.records.jobs_of, [rap_id], client.backends)
            if not jobs:
                raise _not_found(f"No jobs found for rap_id {rap_id}", rap_id=rap_id)
            unknown = sorted(set(actions) - {job.action for job in jobs})
            if unknown:
                raise _not_found(
                    "Jobs matching requested cancelled actions could not be found: "
                    + ",".join(unknown),
                    rap_id=rap_id,
                    not_found=unknown,
                )
            await services.orchestrator.cancel(
                jobs[0].backend,
                jobs[0].workspace,
                CancelRequest(
                    rap_id=rap_id, actions=tuple(dict.fromkeys(actions)), at=at, by=_asker()
                ),
            )
    except (TimeoutError, OrderLost, OrderFailed) as error:
        raise OutcomeUnknown("Whether the jobs will be cancelled is not known.") from error
    count = len(actions)
    return JsonAnswer(
        {"result": "Success", "details": f"{count} actions cancelled", "count": count}
    )


def _asker() -> str:
    """Who asked, as far as it is known: a token names nobody, but the log has the request."""
    return f"RAP API, request {request_id.get()}" if request_id.get() else "RAP API"


def _not_found(details: str, **more: object) -> Refused:
    return Refused(HTTPStatus.NOT_FOUND, "jobs not found", details, **more)
