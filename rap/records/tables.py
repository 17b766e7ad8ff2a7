"""The tables of the read model, alike on SQLite and PostgreSQL.

Structured values are JSON text: they are written and read whole, never searched.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    any_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects import postgresql

from rap.status import StatusCode

metadata = MetaData()

intent = Table(
    "intent",
    metadata,
    Column("rap_id", Text, primary_key=True),
    Column("backend", Text, nullable=False),
    Column("workspace", Text, nullable=False),
    Column("repo_url", Text, nullable=False),
    Column("commit", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Index("intent_by_state", "state", "created_at"),
)

job = Table(
    "job",
    metadata,
    Column("id", Text, primary_key=True),
    Column("rap_id", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("backend", Text, nullable=False),
    Column("workspace", Text, nullable=False),
    Column("repo_url", Text, nullable=False),
    Column("commit", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("run_command", Text, nullable=False),
    Column("requires_db", Boolean, nullable=False),
    Column("user", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("weight", Float(53), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("status_code", Text, nullable=False),
    Column("status_message", Text, nullable=False),
    Column("status_code_updated_at", BigInteger, nullable=False),  # nanoseconds
    Column("updated_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("completed_at", BigInteger),
    Column("trace_context", Text, nullable=False),
    Column("metrics", Text, nullable=False),
    Column("trace_attributes", Text, nullable=False, server_default="{}"),
    Column("wait_for", Text, nullable=False, server_default="[]"),
    Index("job_by_rap", "rap_id", "position", unique=True),
    Index("job_by_workspace", "workspace", "backend", "created_at"),
)
Index(
    "job_unfinished",
    job.c.backend,
    sqlite_where=job.c.completed_at.is_(None),
    postgresql_where=job.c.completed_at.is_(None),
)

backend = Table(
    "backend",
    metadata,
    Column("slug", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)


class StoredJob(NamedTuple):
    """A row of the job table. Times are whole seconds since the epoch, where not said otherwise.

    A tuple and not a model, because a status answer reads a thousand of them.
    """

    id: str
    rap_id: str
    position: int
    backend: str
    workspace: str
    repo_url: str
    commit: str
    action: str
    run_command: str
    requires_db: bool
    user: str
    project: str
    weight: float
    created_at: int
    attempt: int
    version: int
    status_code: StatusCode
    status_message: str
    status_code_updated_at: int
    """Nanoseconds."""
    updated_at: int
    started_at: int | None
    completed_at: int | None
    trace_context: dict[str, str]
    metrics: dict[str, float]


class TracedJob(NamedTuple):
    """A job, with what its spans tell beside its row."""

    job: StoredJob
    trace_attributes: dict[str, str]


class Move(NamedTuple):
    """A change of a job's status code that was written now, and never before."""

    before: StoredJob
    after: StoredJob
    trace_attributes: dict[str, str]
    exit_code: int | None = None
    image_id: str | None = None


JOB_COLUMNS = tuple(job.c[name] for name in StoredJob._fields)


def stored_job(row: Any) -> StoredJob:  # noqa: ANN401 - a database row
    """The job in a row of :data:`JOB_COLUMNS`."""
    *before, code, message, moved, updated, started, completed, trace_context, metrics = row
    return StoredJob._make(
        (
            *before,
            StatusCode(code),
            message,
            moved,
            updated,
            started,
            completed,
            decode(trace_context),
            decode(metrics),
        )
    )


def encode(value: Mapping[str, Any] | Sequence[str]) -> str:
    """A structured value as it is stored: JSON to the letter, so that it can be sent as it is.

    A number that JSON does not have becomes null.
    """
    return orjson.dumps(value).decode()


def decode(text: str) -> dict[str, Any]:
    """The value of a stored text."""
    if text == "{}":
        return {}
    value: dict[str, Any] = json.loads(text)
    return value


def among(
    connection: Connection, column: Column[str], values: Collection[str]
) -> ColumnElement[bool]:
    """Whether the column holds one of ``values``, however many there are.

    One bound parameter, because an ``IN`` list of a hundred thousand would exceed the limits of
    both databases.
    """
    if connection.dialect.name == "postgresql":
        listed = bindparam(None, list(values), type_=postgresql.ARRAY(Text))
        return column == any_(listed)
    listed_values = func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(select(listed_values.c.value))
