"""What the handlers of requests work with."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, ParamSpec, TypeVar

import structlog
from fastapi import Depends, Request

from api.auth import Client, Tokens
from api.errors import OutcomeUnknown
from rap.deadlines import BODY_S, TRIES
from rap.errors import Unavailable
from rap.records import Records
from rap.temporal.health import Watch
from workflows.client import OrderFailed, OrderLost, TemporalOrchestrator

log = structlog.get_logger()

_PAUSE_S = 0.2

P = ParamSpec("P")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class Services:
    """The parts of one running API."""

    tokens: Tokens
    records: Records
    orchestrator: TemporalOrchestrator
    timeout: float
    """Seconds within which a request is answered."""
    body_timeout: float = BODY_S
    """Seconds within which the body of a request arrives."""
    temporal: Watch | None = None
    """What is seen of Temporal meanwhile; ``None``: nobody looks."""
    _is_away: bool = False
    """Whether the read model did not answer when it was last called."""

    async def ask(self, call: Callable[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Answer:
        """Call the read model, while other requests are served.

        Raises:
            Unavailable: it does not answer; logged once for each outage.
        """
        try:
            answer = await asyncio.to_thread(call, *args, **kwargs)
        except Unavailable as error:
            if not self._is_away:
                log.error(str(error))  # noqa: TRY400 - the sentence says it all
            self._is_away = True
            raise
        if self._is_away:
            log.info("The read model answers again")
        self._is_away = False
        return answer

    async def ask_again(
        self, call: Callable[P, Answer], *args: P.args, **kwargs: P.kwargs
    ) -> Answer:
        """The same, three times if need be: for whom an answer later is of no use.

        Raises:
            Unavailable: it does not answer.
        """
        for _ in range(TRIES - 1):
            with suppress(Unavailable):
                return await self.ask(call, *args, **kwargs)
            await asyncio.sleep(_PAUSE_S)
        return await self.ask(call, *args, **kwargs)

    @asynccontextmanager
    async def in_time(self, otherwise: str) -> AsyncIterator[None]:
        """Carry out what a request asks for, while its client waits.

        Raises:
            OutcomeUnknown: with the text ``otherwise``, since there was no answer in time.
        """
        try:
            async with asyncio.timeout(self.timeout):
                yield
        except (TimeoutError, OrderLost, OrderFailed) as error:
            raise OutcomeUnknown(otherwise) from error


async def services(request: Request) -> Services:
    """The parts of the API that serves this request."""
    found: Services = request.app.state.services
    return found


async def authenticated(request: Request) -> Client:
    """The client that sent the request, before anything else of it is looked at."""
    found: Services = request.app.state.services
    return found.tokens.client(request)


# An endpoint's parameters stand in the order of the checks: a bad token is told before a bad body.
Served = Annotated[Services, Depends(services)]
Authenticated = Annotated[Client, Depends(authenticated)]
