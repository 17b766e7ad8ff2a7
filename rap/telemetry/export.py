"""Where traces go: chosen by the usual OpenTelemetry variables (docs/spec/controller.md 14.4,
docs/spec/agent.md 14.1).

Nothing is sent unless a variable says where. Spans are sent in batches by a thread of their own, so
that a receiver that is slow, away or broken holds up nothing; what it cannot take is dropped.
"""

import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.util.re import parse_env_headers

from rap.telemetry import traces

DEFAULT_ENDPOINT = "https://api.honeycomb.io"
UNKNOWN = "unknown"
MOST_ATTRIBUTES = 2_000
LONGEST_VALUE = 64 * 1024
"""Characters; a command may be longer."""
STOP_LIMIT = 1.0
"""Seconds for the last spans when a process ends."""


class Service(StrEnum):
    """Which part of the system a process is."""

    AGENT = "agent"
    API = "api"
    CONTROLLER = "controller"
    MANAGE = "manage"
    """Commands."""


class Watched(SpanExporter):
    """An exporter that counts what the one within it could not deliver."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Deliver spans."""
        self.lost += len(spans)
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.lost -= len(spans)
        return result

    def shutdown(self) -> None:
        """Deliver no more."""
        self._inner.shutdown()


@dataclass(frozen=True)
class Export:
    """The sending of a process's spans, while it lasts."""

    provider: TracerProvider
    exporters: tuple[Watched, ...]


class Ids(RandomIdGenerator):
    """Random ids, except for a span whose ids were decided before it could be told about."""

    def generate_trace_id(self) -> int:
        """The id of a trace that begins."""
        fixed = traces.fixed_identity.get()
        return fixed.trace_id if fixed is not None else super().generate_trace_id()

    def generate_span_id(self) -> int:
        """The id of a span."""
        fixed = traces.fixed_identity.get()
        return fixed.span_id if fixed is not None else super().generate_span_id()


def start(
    service: Service, *, version: str = UNKNOWN, env: Mapping[str, str] = os.environ
) -> Export | None:
    """Send the spans of this process where the environment says, if it does, until :func:`stop`."""
    # The exporter would repeat each failure with its stack for as long as a receiver is away.
    logging.getLogger("opentelemetry").setLevel(env.get("TRACE_LOG_LEVEL") or "ERROR")
    exporters = tuple(map(Watched, _exporters(env)))
    if not exporters:
        return None
    provider = provider_of(resource(service, version=version, env=env))
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    traces.use(provider)
    return Export(provider, exporters)


def stop(export: Export | None, limit: float = STOP_LIMIT) -> int:
    """Send what is left, for ``limit`` seconds at most: a receiver that hangs must not hold us.

    Returns how many spans are known to be lost since the start.
    """
    if export is None:
        return 0
    traces.use(None)
    # The SDK's own limit is half a minute, and its threads would be waited for.
    ending = threading.Thread(target=_end, args=[export.provider], name="last-spans", daemon=True)
    ending.start()
    ending.join(limit)
    return sum(exporter.lost for exporter in export.exporters)


def _end(provider: TracerProvider) -> None:
    provider.force_flush()
    provider.shutdown()


def resource(service: Service, *, version: str, env: Mapping[str, str]) -> Resource:
    """What every span of this process says about its origin (docs/spec/controller.md 16.1)."""
    backend = env.get("BACKEND") or UNKNOWN
    return Resource.create(
        {
            "service.name": env.get("OTEL_SERVICE_NAME") or "jobrunner",
            "service.namespace": backend,
            "service.version": version,
            "rap.service": service.value,
            "rap.backend": backend,
        }
    )


def provider_of(described: Resource) -> TracerProvider:
    """A provider whose spans may have the ids that job traces are known by."""
    return TracerProvider(
        resource=described,
        id_generator=Ids(),
        span_limits=SpanLimits(
            max_span_attributes=MOST_ATTRIBUTES, max_span_attribute_length=LONGEST_VALUE
        ),
        shutdown_on_exit=False,
    )


def _exporters(env: Mapping[str, str]) -> list[SpanExporter]:
    if env.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return []
    exporters: list[SpanExporter] = []
    endpoint = env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    exact = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    headers = env.get("OTEL_EXPORTER_OTLP_HEADERS", "").strip().strip("\"'")
    if endpoint or exact or headers:
        # Loaded late: it brings an HTTP client with it.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        base = (endpoint or DEFAULT_ENDPOINT).rstrip("/")
        exporters.append(
            OTLPSpanExporter(
                endpoint=exact or f"{base}/v1/traces",
                headers=parse_env_headers(headers, liberal=True),
            )
        )
    if env.get("OTEL_EXPORTER_CONSOLE"):
        exporters.append(ConsoleSpanExporter(out=sys.stderr))
    return exporters
