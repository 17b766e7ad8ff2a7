"""Whether the process lives and can serve: for whoever runs it, without a token.

Beside its status an answer tells at most that Temporal cannot be worked with.
"""

import asyncio
from http import HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse

from api.services import Served
from rap.errors import Unavailable
from rap.temporal.health import CANNOT_WORK, Condition

LIVES = "/healthz"
IS_READY = "/readyz"
PATHS = frozenset({LIVES, IS_READY})

_PATIENCE = 5.0

router = APIRouter()


@router.api_route(LIVES, methods=["GET", "HEAD"])
async def lives(_request: Request) -> PlainTextResponse:
    """The process answers: do not restart it."""
    return PlainTextResponse("ok\n")


@router.api_route(IS_READY, methods=["GET", "HEAD"])
async def is_ready(served: Served) -> PlainTextResponse:
    """The read model answers too: send requests here.

    Not so Temporal: without it status is answered all the same. One that answers and cannot work is
    told of.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            await served.ask(served.records.check)
    except (Unavailable, TimeoutError):
        return PlainTextResponse("not ready\n", status_code=HTTPStatus.SERVICE_UNAVAILABLE)
    if served.temporal is not None and served.temporal.condition is Condition.CANNOT_WORK:
        return PlainTextResponse(f"ok\n{CANNOT_WORK}\n")
    return PlainTextResponse("ok\n")
