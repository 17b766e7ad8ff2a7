"""What is told about every request: a line in the log, metrics, a span, and an id to find them by.

Neither tokens nor queries nor bodies are told.
"""

import re
import time
import uuid
from contextvars import ContextVar
from http import HTTPStatus
from urllib.parse import quote

import structlog
from opentelemetry import trace
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import metrics
from api.errors import page
from rap.telemetry import traces

log = structlog.get_logger()

REQUEST_ID = "X-Request-ID"
TRACE_RESPONSE = "traceresponse"
_WELL_FORMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_GONE = 499
"""What the log shows for a client that left before its answer."""
_LONGEST_PATH = 200
_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"})

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that is being served."""


class AccessLog:
    """Tells about requests, and answers those whose handling failed in a way nobody foresaw.

    ``endpoints`` says by which name the metrics and spans of a path are known. Of the ``quiet``
    paths nothing is told, since they are asked for every few seconds.
    """

    def __init__(self, app: ASGIApp, endpoints: dict[str, str], quiet: frozenset[str]) -> None:
        self._app = app
        self._endpoints = endpoints
        self._quiet = quiet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID, "")
        id_ = given if _WELL_FORMED.fullmatch(given) else uuid.uuid4().hex
        request_id.set(id_)
        endpoint = self._endpoints.get(scope["path"], "other")
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        with structlog.contextvars.bound_contextvars(request=id_):
            if scope["path"] in self._quiet:
                await self._serve(scope, receive, _Answer(send, id_))
                return
            with traces.span(
                "api",
                f"{method} {endpoint}",
                {"http.request.method": method, "http.route": endpoint, "rap.request": id_},
                carrier=headers,
            ) as span:
                answer = _Answer(send, id_, trace_response=_named(span))
                began = time.perf_counter()
                try:
                    await self._serve(scope, receive, answer)
                finally:
                    seconds = time.perf_counter() - began
                    traces.add(span, {"http.response.status_code": answer.status})
                    metrics.REQUESTS.labels(endpoint, method, answer.status).inc()
                    metrics.SECONDS.labels(endpoint).observe(seconds)
                    log.info(
                        "Request answered",
                        method=method,
                        path=quote(scope["path"])[:_LONGEST_PATH],
                        status=answer.status,
                        bytes=answer.size,
                        ms=round(seconds * 1000, 1),
                    )

    async def _serve(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            await self._app(scope, receive, answer)
        except ClientDisconnect:
            answer.status = answer.status or _GONE
        except Exception as error:
            log.exception("A request failed")
            traces.fail(trace.get_current_span(), traces.Failure(type(error).__name__))
            if answer.status:
                raise  # the server breaks the answer off
            broken = page(HTTPStatus.INTERNAL_SERVER_ERROR, "The fault was logged.")
            await broken(scope, receive, answer)


class _Answer:
    """Passes an answer on, with the id of its request, and notes what it was."""

    def __init__(self, send: Send, id_: str, trace_response: str = "") -> None:
        self._send = send
        self._added = {REQUEST_ID: id_}
        if trace_response:
            self._added[TRACE_RESPONSE] = trace_response
        self.status = 0
        self.size = 0

    async def __call__(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = int(message["status"])
            headers = MutableHeaders(scope=message)
            for name, value in self._added.items():
                headers[name] = value
        elif message["type"] == "http.response.body":
            self.size += len(message.get("body", b""))
        await self._send(message)


def _named(span: trace.Span) -> str:
    """The span as the W3C header names it; empty if nothing is told of it."""
    context = span.get_span_context()
    if not traces.is_on() or not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
