"""The queries of an ehrQL run, as its log has them, and their spans (docs/spec/agent.md 15.2).

The log is read by a script in ehrQL's own image, one JSON object a query.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from rap.models import Model
from rap.telemetry import traces
from rap.telemetry.traces import Event
from worker_agent.engine.inspection import nanoseconds


def to_microseconds(moment: object) -> int:
    """A moment in nanoseconds, cut to microseconds (all that receivers keep); or ValueError."""
    if not isinstance(moment, str):
        raise ValueError("a moment is a text")  # noqa: TRY004 - pydantic wants it so
    found = nanoseconds(moment.strip())
    if found is None:
        # Without a zone, or with blanks within.
        parsed = datetime.fromisoformat(moment.strip().replace(" +", "+"))
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        found = int(aware.timestamp()) * traces.NS + aware.microsecond * 1_000
    if found <= 0:
        raise ValueError("Docker's word for never")
    return found // 1_000 * 1_000


Moment = Annotated[int, BeforeValidator(to_microseconds)]
"""Nanoseconds since the epoch."""
Attributes = Annotated[dict[str, Any], BeforeValidator(lambda value: value or {})]


class QueryEvent(Model):
    """Something that happened within a query."""

    name: str
    timestamp: Moment
    attributes: dict[str, Any] = Field(default_factory=dict)


class Query(Model):
    """One query of a run."""

    name: str
    start: Moment
    end: Moment | None = None
    """``None``: the log ends before the query does."""
    attributes: Attributes = Field(default_factory=dict)
    events: Annotated[tuple[QueryEvent, ...], BeforeValidator(lambda value: value or ())] = ()


def parse(lines: Iterable[str], complain: Callable[[str], None]) -> list[Query]:
    """The queries in the script's answer; ``complain`` gets each line that cannot be understood."""
    queries = []
    for line in lines:
        if not line.strip():
            continue
        try:
            queries.append(Query.model_validate(json.loads(line)))
        except ValueError:
            complain(f"bad json from ehrql: {line}")
    return queries


def record_spans(
    operation: str,
    queries: Sequence[Query],
    attributes: Mapping[str, object],
    *,
    start_ns: int,
    end_ns: int,
) -> int:
    """Record the span of a run, such as ``generate-dataset``, and one for each query; how many.

    A query that has no end ends with the run. All the spans get the attributes.
    """
    of = traces.tracer("queries")
    root = traces.record(
        of, f"ehrql.{operation}", start_ns=start_ns, end_ns=end_ns, attributes=attributes
    )
    for query in queries:
        traces.record(
            of,
            query.name,
            start_ns=query.start,
            end_ns=query.end or end_ns,
            attributes={**query.attributes, **attributes},
            parent=root,
            events=[Event(each.name, each.timestamp, each.attributes) for each in query.events],
        )
    return 1 + len(queries)
