"""The flags of backends (rap-api.md A5)."""

import asyncio

from fastapi import APIRouter

from api.errors import JsonAnswer, OutcomeUnknown
from api.services import Authenticated, Served
from rap.presentation import present_backends

router = APIRouter(prefix="/backend")


@router.get("/status/")
async def backend_status(served: Served, client: Authenticated) -> JsonAnswer:
    """Answer with the backends that the token covers, also those never seen."""
    try:
        async with asyncio.timeout(served.timeout):
            rows = await served.ask(served.records.backends, client.backends)
    except TimeoutError as error:
        raise OutcomeUnknown("The status cannot be had at the moment.") from error
    return JsonAnswer({"backends": present_backends(client.backends, rows)})
