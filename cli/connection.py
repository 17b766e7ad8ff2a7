"""Talking to Temporal from the command line."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from temporalio.client import Client
from temporalio.service import RPCError

from rap.errors import Unavailable
from rap.temporal.client import connect

IDENTITY = "rap-cli"
QUERY_WITHIN = timedelta(seconds=5)

Answer = TypeVar("Answer")


def ask(question: Callable[[Client], Awaitable[Answer]]) -> Answer:
    """What comes of something that needs a client; Unavailable if Temporal does not answer."""

    async def connect_and_ask() -> Answer:
        try:
            return await question(await connected())
        except RPCError as error:
            raise Unavailable(f"Temporal does not answer: {error.message}") from error

    return asyncio.run(connect_and_ask())


async def connected() -> Client:
    """A client of Temporal for the command line; Unavailable if Temporal does not answer."""
    return await connect(identity=IDENTITY)
