"""Paths, methods, redirects, tokens and the shape of errors (docs/spec/rap-api.md A1-A3)."""

import http.client
import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from api.app import create_app
from api.auth import Tokens
from rap.records import Records
from rap.settings import ApiSettings
from tests.unit.api.conftest import BASE, TOKENS, Caller, ScriptedOrchestrator, is_json, served

pytestmark = pytest.mark.unit

ENDPOINTS = [
    ("GET", "backend/status/"),
    ("POST", "rap/create/"),
    ("POST", "rap/cancel/"),
    ("POST", "rap/status/"),
]
NO_TOKEN = {"error": "Unauthorized", "details": "No token provided"}
BAD_TOKEN = {"error": "Unauthorized", "details": "Invalid token"}


@pytest.mark.spec("rap-api:1")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_health_answers_any_method(site: httpx.Client, method: str) -> None:
    answer = site.request(method, "/")
    assert (answer.status_code, answer.json()) == (200, {"method": method})


@pytest.mark.spec("rap-api:2", "rap-api:3")
def test_the_openapi_document_has_the_four_endpoints(site: httpx.Client) -> None:
    answer = site.get(f"{BASE}/spec.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    document = answer.json()
    assert document["openapi"] == "3.1.0"
    assert document["info"]["title"] == "RAP API"
    assert document["servers"] == [{"url": "/controller/v1/"}]
    found = {
        path: {method: list(each["responses"]) for method, each in operations.items()}
        for path, operations in document["paths"].items()
    }
    assert found == {
        "/backend/status/": {"get": ["200", "401"]},
        "/rap/create/": {"post": ["200", "201", "400", "401"]},
        "/rap/cancel/": {"post": ["200", "400", "401", "404"]},
        "/rap/status/": {"post": ["200", "400", "401"]},
    }


def test_every_reference_in_the_openapi_document_leads_somewhere(site: httpx.Client) -> None:
    document = site.get(f"{BASE}/spec.json").json()

    def references(value: object) -> Iterator[str]:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                yield value["$ref"]
            for member in value.values():
                yield from references(member)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    named = set(references(document["paths"]))
    schemas = document["components"]["schemas"]
    assert named == {f"#/components/schemas/{name}" for name in schemas}


@pytest.mark.spec("rap-api:4")
def test_the_reference_page_needs_no_token(site: httpx.Client) -> None:
    answer = site.get(f"{BASE}/docs/")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "<title>RAP API</title>" in answer.text
    assert all(path in answer.text for _, path in ENDPOINTS)


@pytest.mark.spec("rap-api:5")
@pytest.mark.parametrize(
    "path",
    [
        f"{BASE}/",
        "/health",
        "/openapi.json",
        "/openapi.yaml",
        "/docs",
        f"{BASE}/spec.json/",
        f"/{BASE}/docs/",
        f"{BASE}/rap/create//",
        f"{BASE}/rap/",
    ],
)
def test_other_paths_are_not_found_and_not_json(site: httpx.Client, path: str) -> None:
    answer = site.get(site.base_url.join("/").copy_with(raw_path=path.encode()))
    assert answer.status_code == 404
    assert "<h1>Not Found</h1>" in answer.text
    assert not is_json(answer)


@pytest.mark.spec("rap-api:6", "rap-api:7", "rap-api:8")
@pytest.mark.parametrize("path", [*(path for _, path in ENDPOINTS), "docs/"])
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "DELETE"])
@pytest.mark.parametrize("query", ["", "?a=1&b=%20c"])
def test_a_missing_slash_redirects_before_anything_else(
    site: httpx.Client, path: str, method: str, query: str
) -> None:
    bare = f"{BASE}/{path}".removesuffix("/")
    answer = site.request(method, f"{bare}{query}", content=b"{", follow_redirects=False)
    assert (answer.status_code, answer.content) == (301, b"")
    assert answer.headers["location"] == f"{bare}/{query}"


@pytest.mark.spec("rap-api:9", "rap-api:10")
@pytest.mark.parametrize(
    ("right", "path", "method"),
    [
        (right, path, method)
        for right, path in ENDPOINTS
        for method in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE")
        if method != right
    ],
)
def test_a_wrong_method_is_told_before_a_missing_token(
    site: httpx.Client, right: str, path: str, method: str
) -> None:
    answer = site.request(method, f"{BASE}/{path}")
    assert (answer.status_code, answer.content) == (405, b"")
    assert answer.headers["allow"] == right
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("path", ["docs/", "spec.json"])
def test_the_description_is_only_read(site: httpx.Client, path: str) -> None:
    assert site.head(f"{BASE}/{path}").status_code == 200
    assert site.options(f"{BASE}/{path}").status_code == 200
    assert site.post(f"{BASE}/{path}").status_code == 405


# --- hosts ---


def asked(site: httpx.Client, *hosts: str, path: str = "/", version: str = "1.1") -> str:
    """The first line of the answer to a request with these ``Host`` headers."""
    lines = [f"GET {path} HTTP/{version}", *(f"Host: {host}" for host in hosts)]
    with socket.create_connection((site.base_url.host, site.base_url.port)) as connection:
        connection.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        return connection.makefile("rb").read().decode()


@pytest.mark.parametrize("path", ["/", f"{BASE}/docs", f"{BASE}/backend/status/", "/nowhere"])
def test_another_host_is_turned_away_before_anything_else(site: httpx.Client, path: str) -> None:
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1@evil", "local host", "a:b:c"):
        answer = asked(site, host, path=path)
        assert answer.startswith("HTTP/1.1 400")
        assert "text/html" in answer
        assert "<h1>Bad Request</h1>" in answer


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "localhost.", "127.0.0.1:9", "[::1]"]
)
def test_this_host_is_served_whatever_the_port(site: httpx.Client, host: str) -> None:
    assert asked(site, host).startswith("HTTP/1.1 200")


def test_a_request_of_old_needs_no_host(site: httpx.Client) -> None:
    assert " 200 " in asked(site, version="1.0").partition("\n")[0]


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("rap.example", "rap.example", 200),
        ("rap.example", "a.rap.example", 400),
        (".rap.example", "rap.example", 200),
        (".rap.example", "a.b.rap.example", 200),
        (".rap.example", "notrap.example", 400),
        ("other, RAP.example", "rap.example:8000", 200),
        ("*", "anything", 200),
    ],
)
@pytest.mark.parametrize("name", ["RAP_API_ALLOWED_HOSTS", "DJANGO_CONTROLLER_ALLOWED_HOSTS"])
def test_the_hosts_are_a_setting(
    records: Records,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    allowed: str,
    host: str,
    status: int,
) -> None:
    monkeypatch.setenv(name, allowed)
    app = create_app(ApiSettings(), records, ScriptedOrchestrator(records), tokens=TOKENS)
    with served(app) as url:
        assert httpx.get(url, headers={"Host": host}).status_code == status


# --- tokens ---


@pytest.mark.spec("rap-api:11", "rap-api:12")
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}])
def test_without_a_token_nothing_is_answered(
    site: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = site.request(method, f"{BASE}/{path}", headers=headers, content=b"{")
    assert (answer.status_code, answer.json()) == (401, NO_TOKEN)
    assert "www-authenticate" not in answer.headers


@pytest.mark.spec("rap-api:13", "rap-api:14", "rap-api:15", "rap-api:16", "rap-api:18")
@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
@pytest.mark.parametrize(
    "token",
    [b"unknown", b"Bearer T-token", b"t-token", b"T-token,M-token", b"T-tokenx", b"T-toke\xc3\xa9"],
)
def test_an_unknown_token_is_told_before_a_bad_body(
    site: httpx.Client, method: str, path: str, token: bytes
) -> None:
    headers = [(b"Authorization", token)]
    answer = site.request(method, f"{BASE}/{path}", headers=headers, content=b"{")
    assert (answer.status_code, answer.json()) == (401, BAD_TOKEN)


def test_two_tokens_are_none(site: httpx.Client) -> None:
    headers = [("Authorization", "T-token"), ("Authorization", "T-token")]
    assert site.get(f"{BASE}/backend/status/", headers=headers).json() == BAD_TOKEN


@pytest.mark.spec("rap-api:17")
@pytest.mark.parametrize(("token", "status"), [("  T-token\t ", 200), ("   ", 401)])
def test_spaces_around_a_token_and_capitals_of_its_header_do_not_matter(
    site: httpx.Client, token: str, status: int
) -> None:
    connection = http.client.HTTPConnection(site.base_url.host, site.base_url.port or 80)
    connection.request("GET", f"{BASE}/backend/status/", headers={"aUTHORIZATION": token})
    answer = connection.getresponse()
    assert answer.status == status
    if status == 401:
        assert json.loads(answer.read()) == NO_TOKEN
    connection.close()


@pytest.mark.spec("controller:187")
def test_tokens_come_from_one_variable_for_each_backend() -> None:
    settings = ApiSettings(backends=("foo", "bar"))
    env = {
        "FOO_CLIENT_TOKENS": "token1,token2, spaced ,token1",
        "BAR_CLIENT_TOKENS": "token1,,",
        "OTHER_CLIENT_TOKENS": "token3",
    }
    assert settings.client_tokens(env) == {
        "token1": ("foo", "bar"),
        "token2": ("foo",),
        " spaced ": ("foo",),
    }


def test_a_token_that_is_listed_twice_covers_a_backend_once() -> None:
    client = Tokens({"a": ("test", "tpp", "test")})._clients[0][1]
    assert client.backends == ("test", "tpp")


# --- bodies ---


@pytest.mark.spec("rap-api:20")
def test_json_is_ascii_and_says_no_charset(site: httpx.Client) -> None:
    answer = Caller(site, "T-token").post("rap/status/", {"rap_ids": ["ü"]})
    assert answer.headers["content-type"] == "application/json"
    assert b"'\\u00fc' does not match" in answer.content


def test_a_body_above_the_limit_is_refused_without_json_and_others_are_read(
    site: httpx.Client,
) -> None:
    caller = Caller(site, "T-token")
    many = [f"{number:016d}" for number in range(100_000)]
    answer = caller.post("rap/status/", {"rap_ids": many})
    assert answer.status_code == 200
    assert len(answer.json()["unrecognised_rap_ids"]) == 100_000
    padded = b'{"rap_ids": []}' + b" " * (5 * 1024 * 1024 // 2)
    answer = caller.post("rap/status/", content=padded)
    assert answer.status_code == 400
    assert not is_json(answer)


def test_answers_keep_browsers_from_guessing(site: httpx.Client) -> None:
    answer = site.get("/")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "server" not in answer.headers


def test_a_fault_of_ours_is_no_json_and_tells_nothing(app: FastAPI) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("secret")

    object.__setattr__(app.state.services, "records", Broken())
    with served(app) as url:
        answer = httpx.post(
            f"{url}{BASE}/rap/status/", headers={"Authorization": "T-token"}, json={"rap_ids": []}
        )
    assert answer.status_code == 500
    assert not is_json(answer)
    assert "secret" not in answer.text


@pytest.mark.parametrize(("method", "path"), [("GET", "backend/status/"), ("POST", "rap/status/")])
def test_a_read_model_that_does_not_answer_makes_no_json(
    tmp_path_factory: pytest.TempPathFactory, settings: ApiSettings, method: str, path: str
) -> None:
    records = Records.connect(f"sqlite:///{tmp_path_factory.mktemp('none') / 'empty.sqlite'}")
    app = create_app(settings, records, ScriptedOrchestrator(records), tokens=TOKENS)
    headers = {"Authorization": "T-token"}
    with served(app) as url:
        answer = httpx.request(
            method, f"{url}{BASE}/{path}", headers=headers, json={"rap_ids": ["a" * 16]}
        )
    records.close()
    assert answer.status_code == 503
    assert not is_json(answer)


def test_a_request_that_is_not_http_is_turned_away(site: httpx.Client) -> None:
    with socket.create_connection((site.base_url.host, site.base_url.port)) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
