"""The application: endpoints, errors and what surrounds them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress

from fastapi import FastAPI
from starlette.routing import Route

from api import backend_status, errors, probes, site
from api.access_log import AccessLog
from api.auth import Tokens
from api.cancel import cancel
from api.create import create
from api.offering import offer_for_ever
from api.services import Services
from api.status import status
from api.transport import AllowedHosts, SecurityHeaders, SlashRedirect
from rap.records import Records
from rap.settings import ApiSettings
from rap.temporal.health import Watch
from workflows.client import TemporalOrchestrator

BASE = "/controller/v1"


def create_app(
    settings: ApiSettings,
    records: Records,
    orchestrator: TemporalOrchestrator,
    *,
    tokens: Mapping[str, tuple[str, ...]] | None = None,
    temporal: Watch | None = None,
    closing: AbstractContextManager[object] | None = None,
) -> FastAPI:
    """Build the application, whose orchestrator may be unreachable.

    The tokens come from the environment by default; ``temporal`` looks whether Temporal works, and
    ``closing`` is left when the application ends.
    """
    services = Services(
        tokens=Tokens(settings.client_tokens() if tokens is None else tokens),
        records=records,
        orchestrator=orchestrator,
        timeout=settings.rap_api_timeout,
        temporal=temporal,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with closing or nullcontext():
            helpers = [asyncio.create_task(offer_for_ever(services))]
            if temporal is not None:
                helpers.append(asyncio.create_task(temporal.run()))
            yield
            for helper in helpers:
                helper.cancel()
                with suppress(asyncio.CancelledError):
                    await helper

    # The framework's own pages, redirects and errors would not have the promised forms.
    app = FastAPI(
        openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False, lifespan=lifespan
    )
    app.state.services = services
    app.router.routes.append(site.health)
    for router in (backend_status.router, site.router):
        app.include_router(router, prefix=BASE)
    for name, endpoint in (("create", create), ("cancel", cancel), ("status", status)):
        app.post(f"{BASE}/rap/{name}/")(endpoint)
    app.include_router(probes.router)
    for path in _SLASHED:
        app.router.routes.append(Route(f"{BASE}{path}".removesuffix("/"), SlashRedirect()))
    errors.install(app)
    # The last one added is the first to see a request.
    app.add_middleware(AllowedHosts, hosts=settings.rap_api_allowed_hosts, except_for=probes.PATHS)
    app.add_middleware(AccessLog, endpoints=_ENDPOINTS, quiet=probes.PATHS)
    app.add_middleware(SecurityHeaders)
    return app


_SLASHED = ("/backend/status/", "/rap/create/", "/rap/cancel/", "/rap/status/", "/docs/")
_ENDPOINTS = {"/": "/", **{f"{BASE}{path}": path for path in (*_SLASHED, "/spec.json")}}
