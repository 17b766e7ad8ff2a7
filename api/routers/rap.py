"""Creating, cancelling and following RAPs (rap-api.md A6, A7, A8)."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from api import schemas
from api.bodies import Body, reader
from api.cancellation import cancel
from api.creation import create
from api.errors import JsonAnswer
from api.following import follow
from api.services import Authenticated, Served

router = APIRouter(prefix="/rap")

CreateBody = Annotated[Body, Depends(reader(schemas.CREATE))]
CancelBody = Annotated[Body, Depends(reader(schemas.CANCEL))]
StatusBody = Annotated[Body, Depends(reader(schemas.STATUS))]

# The order of the parameters is that of the checks: a bad token is told before a bad body.


@router.post("/create/")
async def rap_create(served: Served, client: Authenticated, body: CreateBody) -> JsonAnswer:
    """Create a RAP; see :mod:`api.creation`."""
    return await create(served, client, body)


@router.post("/cancel/")
async def rap_cancel(served: Served, client: Authenticated, body: CancelBody) -> JsonAnswer:
    """Cancel actions of a RAP; see :mod:`api.cancellation`."""
    return await cancel(served, client, body)


@router.post("/status/")
async def rap_status(served: Served, client: Authenticated, body: StatusBody) -> Response:
    """Answer with the jobs of any number of RAPs; see :mod:`api.following`."""
    return await follow(served, client, body)
