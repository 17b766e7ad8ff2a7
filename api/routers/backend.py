"""The flags of backends (rap-api.md A5)."""

import asyncio

from fastapi import APIRouter

from api.errors import JsonAnswer
from api.services import Authenticated, Served
from rap.presentation import present_backends

router = APIRouter(prefix="/backend")


@router.get("/status/")
async def backend_status(served: Served, client: Authenticated) -> JsonAnswer:
    """Answer with the backends that the token covers, also those never seen."""
    rows = await asyncio.to_thread(served.records.backends, client.backends)
    return JsonAnswer({"backends": present_backends(client.backends, rows)})
