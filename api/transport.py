"""What happens to every request before and after its endpoint (rap-api.md A2)."""

from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import quote

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class SlashRedirect:
    """Sends a request whose path lacks only its last slash there, whatever else it holds."""

    def __init__(self, app: ASGIApp, paths: Collection[str]) -> None:
        self._app = app
        self._paths = frozenset(paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or f"{scope['path']}/" not in self._paths:
            await self._app(scope, receive, send)
            return
        query = scope["query_string"].decode("latin-1")
        location = quote(f"{scope['path']}/") + (f"?{query}" if query else "")
        moved = HTMLResponse(
            b"", status_code=HTTPStatus.MOVED_PERMANENTLY, headers={"Location": location}
        )
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
