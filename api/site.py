"""What needs no token: health, and the description of the API (docs/spec/rap-api.md A1, A9)."""

import html
from http import HTTPMethod, HTTPStatus

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api.errors import JsonAnswer
from api.openapi import DOCUMENT

router = APIRouter()

_SAFE = [HTTPMethod.GET.value, HTTPMethod.HEAD.value, HTTPMethod.OPTIONS.value]


class Health:
    """Answers any method: the service is up."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await JsonAnswer({"method": scope["method"]})(scope, receive, send)


health = Route("/", endpoint=Health())


@router.api_route("/spec.json", methods=_SAFE)
async def spec(_request: Request) -> JsonAnswer:
    """Answer with the OpenAPI document."""
    return JsonAnswer(DOCUMENT)


@router.api_route("/docs/", methods=_SAFE)
async def docs(_request: Request) -> HTMLResponse:
    """Answer with the same for people, as a page that loads nothing from elsewhere."""
    return HTMLResponse(_PAGE, status_code=HTTPStatus.OK)


def _page() -> str:
    sections = []
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            answers = "".join(
                f"<dt>{code}<dd>{html.escape(answer['description'])}"
                for code, answer in operation["responses"].items()
            )
            sections.append(
                f"<h2><code>{method.upper()} {html.escape(path)}</code></h2>\n"
                f"<p>{html.escape(operation['description'])}</p>\n<dl>{answers}</dl>\n"
            )
    title = html.escape(DOCUMENT["info"]["title"])
    return (
        f"<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>{title}</title>\n"
        "<style>body{font:1em/1.5 sans-serif;max-width:45em;margin:2em auto;padding:0 1em}"
        "dt{font-weight:bold}</style>\n"
        f"<h1>{title}</h1>\n<p>{html.escape(DOCUMENT['info']['description'])}</p>\n"
        '<p>Programs read <a href="../spec.json">spec.json</a>, which also has the shape of each '
        f"body.</p>\n{''.join(sections)}"
    )


_PAGE = _page()
