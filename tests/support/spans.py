"""The spans that a test made, kept in memory; and a receiver of OTLP on this host."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rap.telemetry import export, traces


class Spans(InMemorySpanExporter):
    """What was emitted, oldest end first."""

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (found,) = self.named(name)
        return found

    @property
    def all(self) -> tuple[ReadableSpan, ...]:
        return self.get_finished_spans()

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.all]


@contextmanager
def traced_by(exporter: SpanExporter) -> Iterator[None]:
    """Let this process's spans go to an exporter at once."""
    provider = export.provider_of(export.resource(export.Service.AGENT, version="1", env={}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces.use(provider)
    try:
        yield
    finally:
        traces.use(None)


@contextmanager
def spans() -> Iterator[Spans]:
    exporter = Spans()
    with traced_by(exporter):
        yield exporter


class Receiver(ThreadingHTTPServer):
    """A collector of spans, as far as senders can tell."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: list[ExportTraceServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.answering = threading.Event()
        self.answering.set()
        self.asked = threading.Event()
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def spans(self) -> list[tuple[str, dict[str, object], dict[str, object]]]:
        """Name, attributes and resource of each span, in the order of arrival."""
        return [
            (span.name, _values(span.attributes), _values(resource.resource.attributes))
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def trace(self, trace_id: str) -> list[tuple[str, Span]]:
        """The spans of one trace, each with the service that told it."""
        return [
            (str(_values(resource.resource.attributes)["rap.service"]), span)
            for request in tuple(self.requests)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
            if span.trace_id.hex() == trace_id
        ]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.set()
        self.server.answering.wait(30)
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        self.server.requests.append(request)
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.paths.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.answering.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _values(attributes: object) -> dict[str, object]:
    found: dict[str, object] = {}
    for attribute in attributes:  # type: ignore[attr-defined]
        value = attribute.value
        found[attribute.key] = getattr(value, value.WhichOneof("value"))
    return found
