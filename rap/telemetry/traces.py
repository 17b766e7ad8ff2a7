"""Traces: spans about jobs and about the work on them (docs/spec/controller.md 16,
docs/spec/agent.md 14).

Any module may emit spans with what is here, whether or not they go anywhere: until
:func:`rap.telemetry.export.start` finds in the environment where to send them, nothing is made and
nothing costs. Telling must never disturb what is told about, so nothing here raises: what goes
wrong is one line in the log.

Times are nanoseconds since the epoch.
"""

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import NamedTuple

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext, Status, Tracer, TracerProvider
from opentelemetry.trace import StatusCode as SpanStatus
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

log = structlog.get_logger()

Value = bool | str | bytes | int | float
Attributes = Mapping[str, object]

NS = 1_000_000_000
YEAR_2000 = 946_684_800 * NS
"""No span of ours is older: an earlier time is one in another unit."""

_W3C = TraceContextTextMapPropagator()

fixed_identity: ContextVar[SpanContext | None] = ContextVar("fixed_identity", default=None)
"""Set while a span is started whose ids were given away before: see :func:`record`."""

_provider: TracerProvider | None = None


class Failure(NamedTuple):
    """Why a span is one of an error."""

    kind: str
    """The class of an exception, or a word of an enumeration."""
    text: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}" if self.text else self.kind


class Event(NamedTuple):
    """Something that happened within a span."""

    name: str
    at_ns: int
    attributes: Attributes = MappingProxyType({})


def use(provider: TracerProvider | None) -> None:
    """Send the spans of this process through ``provider``; ``None``: send none."""
    global _provider
    _provider = provider


def is_on() -> bool:
    """Whether spans of this process go anywhere."""
    return _provider is not None


def tracer(name: str) -> Tracer:
    """The tracer of that name; one that makes nothing while traces are off."""
    return _provider.get_tracer(name) if _provider is not None else trace.NoOpTracer()


def root_of(trace_context: Mapping[str, str]) -> SpanContext | None:
    """The root span that a W3C carrier names; ``None`` if it names none, or an invalid one."""
    found = trace.get_current_span(_W3C.extract(dict(trace_context), Context()))
    context = found.get_span_context()
    return context if context.is_valid else None


def new_root() -> SpanContext:
    """The identity of a root span that is yet to be emitted, in a trace of its own."""
    bits = random.SystemRandom().getrandbits
    flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
    return SpanContext(bits(128), bits(64), is_remote=False, trace_flags=flags)


def below(root: SpanContext) -> Context:
    """A context whose spans are children of ``root``, whatever span is current."""
    return trace.set_span_in_context(trace.NonRecordingSpan(root), Context())


@contextmanager
def harmless(sentence: str) -> Iterator[None]:
    """Do something about traces; an error in it is logged as ``sentence`` and is over."""
    try:
        yield
    except Exception:
        log.exception(sentence)


def clean(span_name: str, attributes: Attributes) -> dict[str, Value]:
    """Attributes as they may be sent (docs/spec/controller.md 16.2).

    Only bool, str, bytes, int and float are; others become text, and an error is logged. Null
    becomes the text ``None`` silently.
    """
    cleaned: dict[str, Value] = {}
    for key, value in attributes.items():
        if isinstance(value, (bool, str, bytes, int, float)):
            # An enumeration's member would travel as the name of its class.
            cleaned[key] = str(value) if isinstance(value, str) else value
            continue
        if value is not None:
            log.error(
                f"Trace span {span_name} attribute {key} was set invalid type: {value}, "
                f"type {type(value)}"
            )
        cleaned[key] = str(value)
    return cleaned


def record(
    of: Tracer,
    name: str,
    *,
    start_ns: int,
    end_ns: int,
    attributes: Attributes,
    parent: SpanContext | None = None,
    identity: SpanContext | None = None,
    failure: Failure | None = None,
    events: Sequence[Event] = (),
) -> SpanContext | None:
    """Emit a span about something that is over.

    Times that cannot be are warned about and mended (docs/spec/controller.md 16.3): an end before
    the start becomes the start.

    With a ``parent`` it is part of that span; without one it is the root of a trace, also while
    another span is current. An ``identity`` is the trace and span id that this very span has,
    decided before. A ``failure`` makes it a span of an error, with an ``exception`` event.

    Returns what names the span, for its children; ``None`` if it could not be made.
    """
    try:
        if start_ns < YEAR_2000:
            log.warning(f"the span {name} starts before 2000: {start_ns}")
        if end_ns < start_ns:
            log.warning(f"the span {name} ends before it starts: {end_ns} < {start_ns}")
            end_ns = start_ns
        token = fixed_identity.set(identity)
        try:
            span = of.start_span(
                name,
                context=below(parent) if parent is not None else Context(),
                attributes=clean(name, attributes),
                start_time=start_ns,
            )
        finally:
            fixed_identity.reset(token)
        for event in events:
            span.add_event(event.name, clean(name, event.attributes), event.at_ns)
        if failure is not None:
            fail(span, failure, at_ns=end_ns)
        span.end(end_ns)
        return span.get_span_context()
    except Exception:
        log.exception(f"failed to make the span {name}")
        return None


def fail(span: Span, failure: Failure, *, at_ns: int | None = None) -> None:
    """Mark a span as one of an error.

    The event holds no stack: those show what must not leave a backend.
    """
    event = {"exception.type": failure.kind, "exception.message": failure.text}
    span.add_event("exception", event, at_ns)
    span.set_status(Status(SpanStatus.ERROR, str(failure)))


def add(span: Span, attributes: Attributes) -> None:
    """Add attributes to an open span, by the rules of :func:`clean`."""
    with harmless("failed to add to a span"):
        span.set_attributes(clean(str(getattr(span, "name", "")), attributes))


@contextmanager
def span(
    of: str,
    name: str,
    attributes: Attributes | None = None,
    *,
    carrier: Mapping[str, str] | None = None,
) -> Iterator[Span]:
    """Tell about a block in a span that is current within it.

    An exception makes it a span of an error, with the name of its class alone, and goes on.

    It continues the ``traceparent`` of a request's headers, if they are given as ``carrier``, and
    is a child of the current span otherwise.
    """
    context = _W3C.extract(dict(carrier), Context()) if carrier is not None else None
    with tracer(name=of).start_as_current_span(
        name, context=context, record_exception=False, set_status_on_exception=False
    ) as opened:
        add(opened, attributes or {})
        try:
            yield opened
        except Exception as error:
            with harmless("failed to tell about an error"):
                fail(opened, Failure(type(error).__name__))
            raise


@contextmanager
def timed(attribute: str, of: Span | None = None) -> Iterator[None]:
    """Set an attribute of a span to the whole milliseconds of a block, also when it raises."""
    began = time.perf_counter_ns()
    try:
        yield
    finally:
        elapsed = (time.perf_counter_ns() - began) // 1_000_000
        add(of or trace.get_current_span(), {attribute: elapsed})
