"""What happens to every request before its endpoint (docs/spec/rap-api.md A2)."""

import re
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import page

_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_HOST = re.compile(r"([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


class AllowedHosts:
    """Turns away requests for another site, which somebody's browser may have been talked into.

    ``.name`` among the hosts stands for a name and all below it, ``*`` for any. Paths of probes,
    which know an address only, are excepted. Not Starlette's TrustedHostMiddleware: that one turns
    away ``localhost.`` and the requests of HTTP/1.0 that name no host, serves those that name two,
    and has no paths that it leaves alone.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], except_for: Collection[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._except_for = frozenset(except_for)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["path"] in self._except_for or self._allows(scope):
            await self._app(scope, receive, send)
            return
        await page(HTTPStatus.BAD_REQUEST, "The host is not served here.")(scope, receive, send)

    def _allows(self, scope: Scope) -> bool:
        if "*" in self._hosts:
            return True
        found = _HOST.fullmatch(_host_of(scope).lower())
        if found is None:
            return False
        host = found[1].removesuffix(".")
        return host in self._hosts or any(
            allowed.startswith(".") and (host == allowed[1:] or host.endswith(allowed))
            for allowed in self._hosts
        )


def _host_of(scope: Scope) -> str:
    named = Headers(scope=scope).getlist("host")
    if len(named) == 1:
        return named[0]
    # A request of HTTP/1.0 need not name any; one that names two is not to be trusted.
    server = scope.get("server")
    return str(server[0]) if server and not named else ""


class SlashRedirect:
    """Sends a request whose path lacks only its last slash there, whatever else it holds."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of any method."""
        query = scope["query_string"].decode("latin-1")
        location = quote(f"{scope['path']}/") + (f"?{query}" if query else "")
        moved = HTMLResponse(b"", HTTPStatus.MOVED_PERMANENTLY, {"Location": location})
        await moved(scope, receive, send)


class SecurityHeaders:
    """Adds to every answer the headers that keep browsers out of trouble."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        await self._app(scope, receive, send_with_headers)
