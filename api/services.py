"""What the handlers of requests work with."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.auth import Client, Tokens
from api.orchestrator import Orchestrator
from rap.records import Records


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one running API."""

    tokens: Tokens
    records: Records
    orchestrator: Orchestrator
    timeout: float
    """Seconds within which a create or cancel is answered."""


def services(request: Request) -> Services:
    """The parts of the API that serves this request."""
    found: Services = request.app.state.services
    return found


def authenticated(request: Request) -> Client:
    """The client that sent the request, before anything else of it is looked at."""
    return services(request).tokens.client(request)


Served = Annotated[Services, Depends(services)]
Authenticated = Annotated[Client, Depends(authenticated)]
