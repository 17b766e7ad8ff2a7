"""What is told about requests: ids, log lines, metrics, spans, probes; and what never is."""

import logging
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import REGISTRY

from api.app import create_app
from rap.records import Records
from rap.records.migrations import upgrade
from rap.settings import ApiSettings
from rap.status import StatusCode
from rap.telemetry import export, traces
from tests.support.records import CREATED_AT, changed, created, rap_id
from tests.unit.api.conftest import BASE, TOKENS, Caller, ScriptedOrchestrator, create_body, served

pytestmark = pytest.mark.unit

ONE, TWO, THREE = rap_id(1), rap_id(2), rap_id(3)
LINE = "Request answered"


@pytest.fixture
def told() -> Iterator[structlog.testing.LogCapture]:
    """What is logged, each entry with what every line of its request carries."""
    capture = structlog.testing.LogCapture()
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, capture],
        cache_logger_on_first_use=False,
    )
    yield capture
    structlog.configure(**before)


def lines(told: structlog.testing.LogCapture, event: str) -> list[dict[str, object]]:
    """What was logged with these words, but for the first request, by which a test waits."""
    return [
        dict(entry)
        for entry in told.entries
        if entry["event"] == event and entry.get("path") != "/"
    ]


def line(told: structlog.testing.LogCapture, event: str) -> dict[str, object]:
    """The only line with these words; it may follow the answer."""
    deadline = time.monotonic() + 30
    while not lines(told, event) and time.monotonic() < deadline:
        time.sleep(0.01)
    (found,) = lines(told, event)
    return found


# --- ids ---


@pytest.mark.parametrize("id_", ["a", "0123-4567_89.x", "x" * 64])
def test_a_request_keeps_the_id_it_came_with(site: httpx.Client, id_: str) -> None:
    assert site.get("/", headers={"X-Request-ID": id_}).headers["x-request-id"] == id_


@pytest.mark.parametrize("id_", ["", "x" * 65, "two words", "-x", "a\tb", "é"])
def test_a_request_without_a_well_formed_id_gets_one(site: httpx.Client, id_: str) -> None:
    answers = [
        site.get("/", headers=[(b"X-Request-ID", id_.encode())]).headers["x-request-id"]
        for _ in range(2)
    ]
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in answers)
    assert answers[0] != answers[1]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", f"{BASE}/docs", 301), ("PUT", f"{BASE}/rap/create/", 405)],
)
def test_errors_have_an_id_too(site: httpx.Client, method: str, path: str, status: int) -> None:
    answer = site.request(method, path, headers={"X-Request-ID": "mine"}, follow_redirects=False)
    assert (answer.status_code, answer.headers["x-request-id"]) == (status, "mine")


# --- the log ---


def test_each_request_is_a_line_without_token_query_or_body(
    http: httpx.Client, told: structlog.testing.LogCapture
) -> None:
    answer = http.post(
        f"{BASE}/rap/status/?password=hidden",
        headers={"Authorization": "T-token", "X-Request-ID": "r-1"},
        json={"rap_ids": [ONE]},
    )
    said = line(told, LINE)
    assert said.pop("ms")
    assert said == {
        "event": LINE,
        "log_level": "info",
        "request": "r-1",
        "method": "POST",
        "path": f"{BASE}/rap/status/",
        "status": 200,
        "bytes": len(answer.content),
    }
    assert not re.search("hidden|T-token|0001", str(told.entries))


def test_a_path_cannot_forge_a_line(http: httpx.Client, told: structlog.testing.LogCapture) -> None:
    http.get("/a%0a2026-01-01 forged" + "x" * 500)
    path = str(line(told, LINE)["path"])
    assert path.startswith("/a%0A2026-01-01%20forged")
    assert len(path) == 200


def test_all_that_is_logged_about_a_request_has_its_id(
    t: Caller, told: structlog.testing.LogCapture
) -> None:
    t.post("rap/create/", create_body(), headers={"X-Request-ID": "r-2"})
    assert line(told, "RAP created")["request"] == "r-2"


def test_a_cancel_tells_the_workspace_which_request_asked(
    t: Caller, records: Records, orchestrator: ScriptedOrchestrator
) -> None:
    records.record_jobs(created(ONE, "a"))
    body = {"rap_id": ONE, "actions": ["a"]}
    assert t.post("rap/cancel/", body, headers={"X-Request-ID": "r-3"}).status_code == 200
    assert orchestrator.cancels[0][2].by == "RAP API, request r-3"


def test_a_fault_is_logged_with_its_request_and_answered_in_full(
    app: FastAPI, told: structlog.testing.LogCapture
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("secret")

    object.__setattr__(app.state.services, "records", Broken())
    headers = {"Authorization": "T-token", "X-Request-ID": "r-4"}
    with served(app) as url:
        answer = httpx.post(f"{url}{BASE}/rap/status/", headers=headers, json={"rap_ids": [ONE]})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "r-4")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert line(told, "A request failed")["request"] == "r-4"


def test_an_outage_of_the_read_model_is_logged_once_and_its_end_too(
    tmp_path: Path, settings: ApiSettings, told: structlog.testing.LogCapture
) -> None:
    database = f"sqlite:///{tmp_path / 'late.sqlite'}"
    records = Records.connect(database)
    app = create_app(settings, records, ScriptedOrchestrator(records), tokens=TOKENS)
    with served(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        caller = Caller(client, "T-token")
        for _ in range(3):
            assert caller.get("backend/status/").status_code == 503
            assert caller.post("rap/status/", {"rap_ids": [ONE]}).status_code == 503
            assert caller.create().status_code == 503
        upgrade(database)
        for _ in range(2):
            assert caller.get("backend/status/").status_code == 200
    records.close()
    told_of = [entry for entry in told.entries if "read model" in entry["event"]]
    assert [entry["log_level"] for entry in told_of] == ["error", "info"]


# --- clients that do not finish ---


def half_a_request(http: httpx.Client) -> socket.socket:
    connection = socket.create_connection((http.base_url.host, http.base_url.port))
    connection.sendall(
        f"POST {BASE}/rap/status/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: T-token\r\n"
        "Content-Length: 100\r\n\r\n{".encode()
    )
    return connection


def test_a_body_that_never_arrives_is_given_up(app: FastAPI, http: httpx.Client) -> None:
    app.state.services = replace(app.state.services, body_timeout=0.05)
    with half_a_request(http) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 408")


def test_a_client_that_leaves_is_no_fault(
    http: httpx.Client, told: structlog.testing.LogCapture, caplog: pytest.LogCaptureFixture
) -> None:
    half_a_request(http).close()
    assert line(told, LINE)["status"] == 499
    assert not lines(told, "A request failed")
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]


# --- probes ---


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_need_no_token_and_tell_nothing(
    http: httpx.Client, told: structlog.testing.LogCapture, path: str
) -> None:
    answer = http.get(path, headers={"Host": "10.1.2.3:8000"})
    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert http.head(path).status_code == 200
    assert http.post(path).status_code == 405
    assert not lines(told, LINE)


def test_without_the_read_model_the_process_lives_but_is_not_ready(
    tmp_path: Path, settings: ApiSettings
) -> None:
    records = Records.connect(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    app = create_app(settings, records, ScriptedOrchestrator(records), tokens=TOKENS)
    with served(app) as url:
        assert httpx.get(f"{url}/healthz").status_code == 200
        answer = httpx.get(f"{url}/readyz")
    assert (answer.status_code, answer.text) == (503, "not ready\n")
    records.close()


# --- metrics ---


def test_requests_are_counted_by_endpoint_and_never_by_what_was_sent(
    t: Caller, http: httpx.Client
) -> None:
    def count(**labels: Any) -> float:
        return REGISTRY.get_sample_value("rap_api_requests_total", labels) or 0

    status = {"endpoint": "/rap/status/", "method": "POST", "status": "200"}
    other = {"endpoint": "other", "method": "GET", "status": "404"}
    before = count(**status), count(**other)
    t.status(ONE)
    http.get("/one")
    http.get("/two")
    deadline = time.monotonic() + 30
    while count(**other) < before[1] + 2 and time.monotonic() < deadline:
        time.sleep(0.01)  # counted after the answer
    assert (count(**status), count(**other)) == (before[0] + 1, before[1] + 2)
    seconds = REGISTRY.get_sample_value(
        "rap_api_request_seconds_count", {"endpoint": "/rap/status/"}
    )
    assert seconds
    assert seconds >= 1


# --- spans ---


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = export.provider_of(Resource.create())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces.use(provider)
    yield exporter
    traces.use(None)


def finished(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    """The spans of that name; the one of a request may end after its answer."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [span for span in spans.get_finished_spans() if span.name == name]
        if found:
            return found
        time.sleep(0.01)
    pytest.fail(f"no span {name}")


PARENT = "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"


def test_a_status_span_continues_the_clients_trace_and_tells_which_raps_were_asked_for(
    t: Caller, records: Records, spans: InMemorySpanExporter
) -> None:
    records.record_jobs(created(ONE, "a"))
    records.record_jobs(created(TWO, "a"))
    records.record_jobs(created(rap_id(4), "a", backend="tpp"))
    over = created(rap_id(5), "a")
    records.record_jobs(over)
    records.record_jobs(changed(rap_id(5), "a", StatusCode.SUCCEEDED, CREATED_AT + 1))
    answer = t.post("rap/status/", {"rap_ids": [ONE, THREE]}, headers={"traceparent": PARENT})
    (span,) = finished(spans, "POST /rap/status/")
    assert span.parent is not None
    assert f"{span.context.trace_id:032x}" == PARENT[3:35]
    assert f"{span.parent.span_id:016x}" == PARENT[36:52]
    assert answer.headers["traceresponse"].startswith(PARENT[:36])
    told = dict(span.attributes or {})
    assert isinstance(told.pop("find_matching_jobs.duration_ms"), int)
    assert isinstance(told.pop("find_extra_rap_ids.duration_ms"), int)
    assert told == {
        "http.request.method": "POST",
        "http.route": "/rap/status/",
        "http.response.status_code": 200,
        "rap.request": answer.headers["x-request-id"],
        "valid_rap_ids": ONE,
        "unrecognised_rap_ids": THREE,
        "extra_rap_ids": TWO,
    }


@pytest.mark.spec("controller:207")
def test_a_create_has_a_span_about_who_asked_for_what(
    t: Caller, spans: InMemorySpanExporter
) -> None:
    t.post("rap/create/", create_body(orgs=["a", "b"]))
    (outer,) = finished(spans, "POST /rap/create/")
    (inner,) = finished(spans, "create_jobs")
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    told = dict(inner.attributes or {})
    assert told == {
        "backend": "test",
        "workspace": "workspace",
        "user": "somebody",
        "project": "project",
        "orgs": "a,b",
        "rap_id": ONE,
    }


def test_without_traces_nothing_is_answered_about_them(site: httpx.Client) -> None:
    assert "traceresponse" not in site.get("/", headers={"traceparent": PARENT}).headers
