"""The queries of an ehrQL run, as its log tells them, and their spans (agent.md 15.2).

The log is read by a script in ehrQL's own image, one JSON object a query.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError, field_validator

from rap import tracing
from rap.models import Model
from rap.tracing import Event
from worker_agent.engine.inspection import nanoseconds


def to_microseconds(moment: object) -> int:
    """A moment in nanoseconds, cut to microseconds: that is all the receivers keep.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(moment, str):
        raise ValueError("a moment is a text")  # noqa: TRY004 - pydantic wants it so
    found = nanoseconds(moment.strip())
    if found is None:
        # Without a zone, or with blanks within.
        parsed = datetime.fromisoformat(moment.strip().replace(" +", "+"))
        aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
        found = int(aware.timestamp()) * tracing.NS + aware.microsecond * 1_000
    if found <= 0:
        raise ValueError("Docker's word for never")
    return found // 1_000 * 1_000


class QueryEvent(Model):
    """Something that happened within a query."""

    name: str
    timestamp: int
    """Nanoseconds since the epoch, as all times here."""
    attributes: dict[str, Any] = Field(default_factory=dict)

    _moment = field_validator("timestamp", mode="before")(to_microseconds)


class Query(Model):
    """One query of a run."""

    name: str
    start: int
    end: int | None = None
    """``None``: the log ends before the query does."""
    attributes: dict[str, Any] = Field(default_factory=dict)
    events: tuple[QueryEvent, ...] = ()

    _start = field_validator("start", mode="before")(to_microseconds)

    @field_validator("end", mode="before")
    @classmethod
    def _end(cls, value: object) -> int | None:
        return None if value is None else to_microseconds(value)

    @field_validator("attributes", mode="before")
    @classmethod
    def _no_attributes(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("events", mode="before")
    @classmethod
    def _no_events(cls, value: object) -> object:
        return () if value is None else value


def parse(lines: Iterable[str], complain: Callable[[str], None]) -> list[Query]:
    """The queries in the script's answer.

    Args:
        lines: of its output; blank ones count for nothing.
        complain: is told of each line that cannot be understood.
    """
    queries = []
    for line in lines:
        if not line.strip():
            continue
        try:
            queries.append(Query.model_validate(json.loads(line)))
        except (ValueError, ValidationError):
            complain(f"bad json from ehrql: {line}")
    return queries


def tell(
    operation: str,
    queries: Iterable[Query],
    attributes: Mapping[str, object],
    *,
    start_ns: int,
    end_ns: int,
) -> int:
    """Emit the span of a run, and one for each of its queries.

    Args:
        operation: what ran, such as ``generate-dataset``.
        queries: of the run; one that has no end ends with the run.
        attributes: of all the spans.
        start_ns: when the run began.
        end_ns: when it ended.

    Returns:
        How many spans that were.
    """
    of = tracing.tracer("queries")
    root = tracing.record(
        of, f"ehrql.{operation}", start_ns=start_ns, end_ns=end_ns, attributes=attributes
    )
    count = 1
    for query in queries:
        tracing.record(
            of,
            query.name,
            start_ns=query.start,
            end_ns=end_ns if query.end is None else query.end,
            attributes={**query.attributes, **attributes},
            parent=root,
            events=[Event(each.name, each.timestamp, each.attributes) for each in query.events],
        )
        count += 1
    return count
