"""The tables of the read model, alike on SQLite and PostgreSQL.

Structured values are JSON text: they are written and read whole, never searched.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from rap.status import StatusCode
from rap.stored_jobs import StoredJob

metadata = sa.MetaData()


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


intent = sa.Table(
    "intent",
    metadata,
    sa.Column("rap_id", sa.Text, primary_key=True),
    *_texts("backend", "workspace", "repo_url", "commit", "state"),
    sa.Column("created_at", sa.Float(53), nullable=False),
    sa.Column("number", sa.Integer, nullable=False, server_default="0"),
    sa.Column("request", sa.Text, nullable=False, server_default=""),
    sa.Column("offers", sa.Integer, nullable=False, server_default="0"),
    sa.Column("offered_at", sa.Float(53), nullable=False, server_default="0"),
    sa.Index("intent_by_state", "state", "created_at"),
)

job = sa.Table(
    "job",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("rap_id", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    *_texts("backend", "workspace", "repo_url", "commit", "action", "run_command"),
    sa.Column("requires_db", sa.Boolean, nullable=False),
    *_texts("user", "project"),
    sa.Column("weight", sa.Float(53), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    *_texts("status_code", "status_message"),
    sa.Column("status_code_updated_at", sa.BigInteger, nullable=False),  # nanoseconds
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.BigInteger),
    sa.Column("completed_at", sa.BigInteger),
    *_texts("trace_context", "metrics", "trace_attributes", "wait_for"),
    sa.Index("job_by_rap", "rap_id", "position", unique=True),
    sa.Index("job_by_workspace", "workspace", "backend", "created_at"),
)
sa.Index(
    "job_unfinished",
    job.c.backend,
    sqlite_where=job.c.completed_at.is_(None),
    postgresql_where=job.c.completed_at.is_(None),
)

backend = sa.Table(
    "backend",
    metadata,
    sa.Column("slug", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("document", sa.Text, nullable=False),
)

waiting = sa.Table(
    "waiting",
    metadata,
    sa.Column("backend", sa.Text, primary_key=True),
    sa.Column("job_id", sa.Text, primary_key=True),
    *_texts("rap_id", "workspace", "action"),
    sa.Column("requires_db", sa.Boolean, nullable=False),
    sa.Column("weight", sa.Float(53), nullable=False),
    sa.Column("since", sa.Float(53), nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
)


JOB_COLUMNS = tuple(job.c[name] for name in StoredJob._fields)


def stored_job(row: Any) -> StoredJob:  # noqa: ANN401 - a database row
    """The job in a row of :data:`JOB_COLUMNS`."""
    found = StoredJob._make(row)
    return found._replace(
        status_code=StatusCode(found.status_code),
        trace_context=decode(row.trace_context),
        metrics=decode(row.metrics),
        trace_attributes=decode(row.trace_attributes),
        wait_for=tuple(json.loads(row.wait_for)),
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
    connection: sa.Connection, column: sa.Column[str], values: Collection[str]
) -> sa.ColumnElement[bool]:
    """Whether the column holds one of ``values``, however many there are.

    One bound parameter, because an ``IN`` list of a hundred thousand would exceed the limits of
    both databases.
    """
    if connection.dialect.name == "postgresql":
        listed = sa.bindparam(None, list(values), type_=postgresql.ARRAY(sa.Text))
        return column == sa.any_(listed)
    listed_values = sa.func.json_each(json.dumps(list(values))).table_valued("value")
    return column.in_(sa.select(listed_values.c.value))
