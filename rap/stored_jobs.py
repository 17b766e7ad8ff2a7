"""Jobs as the read model gives them out. Pure: whoever shows a job need not load a database."""

from typing import NamedTuple

from rap.status import StatusCode


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
    trace_attributes: dict[str, str]
    """What only its spans tell."""
    wait_for: tuple[str, ...]
    """The ids of the jobs that it waits for, of its RAP and of others."""


class Move(NamedTuple):
    """A change of a job's status code that was written now, and never before."""

    before: StoredJob
    after: StoredJob
    exit_code: int | None = None
    image_id: str | None = None


class StatusRow(NamedTuple):
    """The columns of a job that decide what is shown of it; see :class:`StoredJob`."""

    status_code: StatusCode
    id: str
    rap_id: str
    backend: str
    action: str
    run_command: str
    requires_db: bool
    weight: float
    created_at: int
    status_message: str
    updated_at: int
    started_at: int | None
    completed_at: int | None
    trace_context: str
    """JSON, as the next two."""
    metrics: str
    wait_for: str


class AwaitedJob(NamedTuple):
    """A job that another one waits for."""

    action: str
    status_code: StatusCode | None
    """``None``: one that this version does not know."""
