"""Sending orders to the workspaces, in the way the API does."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio.client import Client

from api.orchestrator import OrderFailed, OrderLost, TemporalOrchestrator
from rap.errors import RapError, Unavailable
from rap.temporal import connect

IDENTITY = "rap-cli"
ANSWER_WITHIN_S = 25.0
QUERY_WITHIN = timedelta(seconds=5)


async def connected() -> Client:
    """A client of Temporal for the command line.

    Raises:
        Unavailable: Temporal does not answer.
    """
    return await connect(identity=IDENTITY)


def orchestrator(client: Client) -> TemporalOrchestrator:
    """Sends orders through ``client``."""

    async def given() -> Client:
        return client

    return TemporalOrchestrator(given, ANSWER_WITHIN_S)


@contextmanager
def explained(rap_id: str) -> Iterator[None]:
    """Turn the failures of an order about a RAP into sentences for whoever gave it."""
    try:
        yield
    except OrderLost as error:
        raise Unavailable(
            "No answer came. Check that Temporal and the controller run; "
            f"`rap status {rap_id}` tells what became of it."
        ) from error
    except OrderFailed as error:
        raise RapError(
            "Unknown error: nothing was changed. The cause is in the log of the controller."
        ) from error
