"""The flags of backends (docs/spec/rap-api.md A5)."""

from fastapi import APIRouter

from api.errors import JsonAnswer
from api.services import Authenticated, Served
from rap.status_answers import present_backends

router = APIRouter(prefix="/backend")


@router.get("/status/")
async def backend_status(served: Served, client: Authenticated) -> JsonAnswer:
    """Answer with the backends that the token covers, also those never seen."""
    async with served.in_time("The status cannot be had at the moment."):
        rows = await served.ask(served.records.backend_flags, client.backends)
    return JsonAnswer({"backends": present_backends(client.backends, rows)})
