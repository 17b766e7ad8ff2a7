"""What the handlers of requests work with."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, ParamSpec, TypeVar

import structlog
from fastapi import Depends, Request

from api.auth import Client, Tokens
from api.orchestrator import Orchestrator
from api.status import StatusReader
from rap.errors import Unavailable
from rap.records import Records

log = structlog.get_logger()

P = ParamSpec("P")
Answer = TypeVar("Answer")


class Outage:
    """Tells once that something does not answer, and once that it does again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._is_on = False

    def begins(self, why: Exception) -> None:
        """It did not answer."""
        if not self._is_on:
            log.error(str(why))
        self._is_on = True

    def ends(self) -> None:
        """It answered."""
        if self._is_on:
            log.info(f"{self._what} answers again")
        self._is_on = False


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one running API."""

    tokens: Tokens
    records: Records
    orchestrator: Orchestrator
    timeout: float
    """Seconds within which a request is answered."""
    status: StatusReader = field(default_factory=StatusReader)
    outage: Outage = field(default_factory=lambda: Outage("The read model"))

    async def ask(self, call: Callable[P, Answer], *args: P.args, **kwargs: P.kwargs) -> Answer:
        """Call the read model, while other requests are served.

        Raises:
            Unavailable: it does not answer; logged once for each outage.
        """
        try:
            answer = await asyncio.to_thread(call, *args, **kwargs)
        except Unavailable as error:
            self.outage.begins(error)
            raise
        self.outage.ends()
        return answer


async def services(request: Request) -> Services:
    """The parts of the API that serves this request."""
    found: Services = request.app.state.services
    return found


async def authenticated(request: Request) -> Client:
    """The client that sent the request, before anything else of it is looked at."""
    found: Services = request.app.state.services
    return found.tokens.client(request)


Served = Annotated[Services, Depends(services)]
Authenticated = Annotated[Client, Depends(authenticated)]
