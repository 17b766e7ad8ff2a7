"""The application: endpoints, errors and what surrounds them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress

from fastapi import FastAPI

from api import errors
from api.auth import Tokens
from api.observation import Observation
from api.orchestrator import Orchestrator
from api.routers import backend, probes, rap, site
from api.services import Services
from api.settling import settle_for_ever
from api.transport import AllowedHosts, SecurityHeaders, SlashRedirect
from rap.records import Records
from rap.settings import ApiSettings

BASE = "/controller/v1"


def create_app(
    settings: ApiSettings,
    records: Records,
    orchestrator: Orchestrator,
    *,
    tokens: Mapping[str, tuple[str, ...]] | None = None,
    closing: AbstractContextManager[object] | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        settings: of the API process.
        records: the read model, its tables up to date.
        orchestrator: takes creates and cancels; may be unreachable.
        tokens: token to backends; from the environment by default.
        closing: left when the application ends.
    """
    services = Services(
        tokens=Tokens(settings.client_tokens() if tokens is None else tokens),
        records=records,
        orchestrator=orchestrator,
        timeout=settings.rap_api_timeout,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with closing or nullcontext():
            settling = asyncio.create_task(settle_for_ever(services))
            yield
            settling.cancel()
            with suppress(asyncio.CancelledError):
                await settling

    # The framework's own pages, redirects and errors would not have the promised forms.
    app = FastAPI(
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.state.services = services
    app.router.routes.append(site.health)
    for router in (backend.router, rap.router, site.router):
        app.include_router(router, prefix=BASE)
    app.include_router(probes.router)
    errors.install(app)
    # The last one added is the first to see a request.
    app.add_middleware(SlashRedirect, paths=[f"{BASE}{path}" for path in _SLASHED])
    app.add_middleware(AllowedHosts, hosts=settings.rap_api_allowed_hosts, except_for=probes.PATHS)
    app.add_middleware(Observation, endpoints=_ENDPOINTS, quiet=probes.PATHS)
    app.add_middleware(SecurityHeaders)
    return app


_SLASHED = ("/backend/status/", "/rap/create/", "/rap/cancel/", "/rap/status/", "/docs/")
_ENDPOINTS = {"/": "/", **{f"{BASE}{path}": path for path in (*_SLASHED, "/spec.json")}}
