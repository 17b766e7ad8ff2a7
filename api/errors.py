"""Answers and errors in the shapes that clients know (docs/spec/rap-api.md A2).

job-server tells errors apart by whether their body is JSON: JSON is final, anything else means
"ask again". So a JSON error is always ``{"error": …, "details": …}`` and says for certain that
nothing was done; whatever else goes wrong has a body that is not JSON.
"""

import json
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response

from rap.errors import Unavailable

JSON = "application/json"


class JsonAnswer(JSONResponse):
    """JSON as clients of the API know it: ASCII only, a space after each separator."""

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - whatever JSON can hold
        """The body."""
        return json.dumps(content).encode("ascii")


class Refused(Exception):
    """The request is answered with a JSON error; nothing was or will be done for it."""

    def __init__(self, status: int, error: str, details: str, **more: object) -> None:
        super().__init__(details)
        self.status = status
        self.body = {"error": error, "details": details, **more}


class OutcomeUnknown(HTTPException):
    """Whether the request was or will be carried out is not known; answered without JSON."""

    def __init__(self, text: str) -> None:
        super().__init__(HTTPStatus.SERVICE_UNAVAILABLE, text)


def page(status: HTTPStatus, text: str = "") -> HTMLResponse:
    """A short page that is certainly not JSON."""
    title = status.phrase
    content = f"<!doctype html>\n<html lang=en>\n<title>{title}</title>\n<h1>{title}</h1>\n" + (
        f"<p>{text}</p>\n" if text else ""
    )
    return HTMLResponse(content, status_code=status)


def install(app: FastAPI) -> None:
    """Make the application answer every error in these shapes, the framework's own included.

    What nobody foresaw is answered by :class:`api.access_log.AccessLog`, around all of it.
    """

    @app.exception_handler(Refused)
    async def refused(_request: Request, error: Refused) -> Response:
        return JsonAnswer(error.body, status_code=error.status)

    @app.exception_handler(Unavailable)
    async def unavailable(_request: Request, _error: Unavailable) -> Response:
        # Logged, once for each outage, by whoever asked.
        return page(HTTPStatus.SERVICE_UNAVAILABLE, "The service is being restored; try again.")

    @app.exception_handler(HTTPException)
    async def not_json(_request: Request, error: HTTPException) -> Response:
        status = HTTPStatus(error.status_code)
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            return HTMLResponse(b"", status_code=status, headers=error.headers)
        # The framework's own say no more than their status does.
        return page(status, "" if error.detail == status.phrase else error.detail)
