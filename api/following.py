"""Answering status requests, and what is told about them (rap-api.md A8, A11)."""

import asyncio

from opentelemetry import trace
from starlette.responses import Response

from api.auth import Client
from api.bodies import Body
from api.errors import JSON, OutcomeUnknown
from api.services import Services
from api.status import StatusAnswer
from rap import tracing


async def follow(services: Services, client: Client, body: Body) -> Response:
    """Answer a status request whose body is valid.

    Raises:
        OutcomeUnknown: the read model took too long.
    """
    try:
        async with asyncio.timeout(services.timeout):
            answer = await services.ask(_answer, services, client, body["rap_ids"])
    except TimeoutError as error:
        raise OutcomeUnknown("The status cannot be had at the moment.") from error
    return Response(answer.body, media_type=JSON)


def _answer(services: Services, client: Client, rap_ids: list[str]) -> StatusAnswer:
    if not tracing.is_on():
        return services.status.answer(services.records, client.backends, rap_ids)
    with tracing.timed("find_matching_jobs.duration_ms"):
        answer = services.status.answer(services.records, client.backends, rap_ids)
    with tracing.timed("find_extra_rap_ids.duration_ms"):
        active = services.records.active_raps(client.backends)
    asked = set(rap_ids)
    tracing.add(
        trace.get_current_span(),
        {
            "valid_rap_ids": ",".join(answer.recognised),
            "unrecognised_rap_ids": ",".join(answer.unrecognised),
            "extra_rap_ids": ",".join(each for each in active if each not in asked),
        },
    )
    return answer
