"""Image digests from a registry that is broken, slow, or wants a token:
docs/spec/controller.md 10.4.
"""

import json
import socket
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from activities.controller.registry import MANIFEST_TYPES, Registry
from rap.errors import Unavailable

pytestmark = pytest.mark.unit

DIGEST = "sha256:" + "5" * 64


class TokenRegistry:
    """A registry that serves nothing without a token, and whose tokens are used up quickly."""

    def __init__(self) -> None:
        self.broken = False
        self.tokens_given = 0
        self.asked: list[tuple[str, str | None, str | None]] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        token = request.headers.get("Authorization")
        self.asked.append((request.path, token, request.headers.get("Accept")))
        headers, body, status = {}, b"{}", HTTPStatus.OK
        if self.broken:
            status = HTTPStatus.INTERNAL_SERVER_ERROR
        elif request.path.startswith("/token?"):
            self.tokens_given += 1
            body = json.dumps({"token": f"t{self.tokens_given}"}).encode()
        elif token != f"Bearer t{self.tokens_given}":
            status = HTTPStatus.UNAUTHORIZED
            challenge = f'Bearer realm="{self.url}/token",service="here",scope="pull"'
            headers["www-authenticate"] = challenge
        elif "/missing/" in request.path:
            status = HTTPStatus.NOT_FOUND
        else:
            headers["Docker-Content-Digest"] = DIGEST
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)


@pytest.fixture
def server() -> Iterator[TokenRegistry]:
    server = TokenRegistry()
    yield server
    server.server.shutdown()
    server.server.server_close()


@pytest.mark.spec("controller:112")
async def test_a_token_is_fetched_once_and_again_when_it_is_refused(server: TokenRegistry) -> None:
    registry = Registry(server.url)
    assert await registry.digest("ghcr.io/opensafely-core/python:v2") == DIGEST
    assert await registry.digest("ghcr.io/opensafely-core/python:v2") == DIGEST
    assert server.tokens_given == 1
    server.tokens_given = 5
    assert await registry.digest("ghcr.io/opensafely-core/python:v2") == DIGEST
    assert server.tokens_given == 6
    paths = [path for path, _, _ in server.asked]
    assert "/v2/opensafely-core/python/manifests/v2" in paths
    assert "/token?service=here&scope=pull" in paths
    assert server.asked[0][2] == MANIFEST_TYPES
    await registry.aclose()


@pytest.mark.spec("controller:111")
async def test_a_broken_registry_is_covered_by_what_is_remembered(server: TokenRegistry) -> None:
    registry = Registry(server.url)
    await registry.digest("ghcr.io/core/python:v2")
    server.broken = True
    assert await registry.digest("ghcr.io/core/python:v2") == DIGEST
    with pytest.raises(Unavailable, match=r"no digest of ghcr\.io/core/r:v1"):
        await registry.digest("ghcr.io/core/r:v1")
    await registry.aclose()


async def test_an_image_that_does_not_exist_is_told_from_a_registry_that_fails(
    server: TokenRegistry,
) -> None:
    registry = Registry(server.url)
    assert await registry.digest("ghcr.io/core/missing:v2") is None
    await registry.aclose()


async def test_a_registry_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        registry = Registry(f"http://127.0.0.1:{silent.getsockname()[1]}", limit_s=0.2)
        with pytest.raises(Unavailable):
            await registry.digest("ghcr.io/core/python:v2")
        await registry.aclose()
