"""The trace of a job: one span for each status code it passed through
(docs/spec/controller.md 16.3).

Emitted when the read model is written, not by workflows: those are replayed, and would tell a story
twice. A write says which moves it made for the first time, with the time of each, so every span is
told once, whatever is repeated, and its times are those of the record.

A job's ids were given away when it was created (``trace_context``); the root, ``JOB``, is emitted
at the end with exactly those, and everything else as its children.
"""

import time
from collections.abc import Callable, Iterable
from functools import partial

import structlog
from opentelemetry.trace import SpanContext

from rap.errors import RapError
from rap.records import Move, StoredJob
from rap.rows import JobChange
from rap.status import StatusCode
from rap.telemetry import traces
from rap.telemetry.traces import Attributes, Failure

log = structlog.get_logger()

MARKER_NS = traces.NS
"""How long the span of a final code is, which has no end of its own."""
BEFORE_CREATION_NS = 1_000
UNKNOWN = "unknown"
UNREPORTED = "action_version action_revision action_created base_revision base_created"
"""What does not leave a backend as a result: the agent's own spans tell it."""


def emit(moves: Iterable[Move]) -> None:
    """Emit the spans of moves that were just written. Never fails."""
    if not traces.is_on():
        return
    for move in moves:
        with traces.harmless(f"failed to trace job {move.after.id}"):
            _emit(move)


def _emit(move: Move) -> None:
    before, after = move.before, move.after
    root = traces.root_of(after.trace_context)
    if root is None:
        return
    record = partial(traces.record, traces.tracer("jobs"), failure=_failure(after))
    results = _results(move)
    end = after.status_code_updated_at
    record(
        before.status_code.name,
        start_ns=before.status_code_updated_at,
        end_ns=end,
        attributes={**results, **job_attributes(before)},
        parent=root,
    )
    if not after.status_code.is_final:
        return
    attributes = {
        **results,
        "job.succeeded": after.status_code is StatusCode.SUCCEEDED,
        **job_attributes(after),
    }
    record(
        after.status_code.name,
        start_ns=end,
        end_ns=end + MARKER_NS,
        attributes=attributes,
        parent=root,
    )
    record(
        "JOB",
        start_ns=after.created_at * traces.NS - BEFORE_CREATION_NS,
        end_ns=end,
        attributes=attributes,
        identity=root,
    )


def emit_handled(moves: Iterable[Move], loop: SpanContext, start_ns: int) -> None:
    """Emit a ``LOOP_JOB`` for each move of one write, below that write's ``LOOP``. Never fails."""
    record = _loop_job(loop, start_ns)
    for move in moves:
        with traces.harmless(f"failed to trace job {move.after.id}"):
            before, after = move.before.status_code, move.after.status_code
            attributes = {
                **job_attributes(move.before),
                "job.initial_state": before.state.name,
                "job.initial_code": before.name,
                "job.final_state": after.state.name,
                "job.final_code": after.name,
            }
            record(attributes=attributes)


def emit_unwritten(
    changes: Iterable[JobChange], error: Exception, loop: SpanContext, start_ns: int
) -> None:
    """The same for a write that failed; it comes again, so nothing fatal has happened."""
    failure = Failure(type(error).__name__, str(error) if isinstance(error, RapError) else "")
    record = _loop_job(loop, start_ns)
    for change in changes:
        attributes = {"job.id": change.job_id, "job.fatal_error": False}
        record(attributes=attributes, failure=failure)


def _loop_job(loop: SpanContext, start_ns: int) -> Callable[..., object]:
    """What records a ``LOOP_JOB`` that ends now."""
    of = traces.tracer("loop")
    now = time.time_ns()
    return partial(traces.record, of, "LOOP_JOB", start_ns=start_ns, end_ns=now, parent=loop)


def emit_tick(jobs: Iterable[StoredJob], *, start_ns: int, end_ns: int) -> None:
    """Emit ``TICK`` with a child for each of the given jobs, all of the same time. Never fails."""
    ticks = traces.tracer("ticks")
    tick = traces.record(ticks, "TICK", start_ns=start_ns, end_ns=end_ns, attributes={})
    for job in jobs:
        with traces.harmless(f"failed to trace state for {job.id}"):
            traces.record(
                ticks,
                job.status_code.name,
                start_ns=start_ns,
                end_ns=end_ns,
                attributes=job_attributes(job),
                parent=tick,
            )


def job_attributes(job: StoredJob) -> Attributes:
    """The attributes of a job (docs/spec/controller.md 16.2); its own never replace
    the standard ones.
    """
    attributes: dict[str, object] = {}
    for name, value in job.trace_attributes.items():
        if not name.startswith("job."):
            log.warning(f"the trace attribute {name} of a job is sent as job.{name}", id=job.id)
        attributes[f"job.{name.removeprefix('job.')}"] = value
    return attributes | {
        "rap.backend": job.backend,
        "job.backend": job.backend,
        "job.id": job.id,
        "job.request": job.rap_id,
        "job.workspace": job.workspace,
        "job.action": job.action,
        "job.commit": job.commit,
        "job.run_command": job.run_command,
        "job.user": job.user or UNKNOWN,
        "job.project": job.project or UNKNOWN,
        "job.state": job.status_code.state.name,
        "job.message": job.status_message,
        "job.created_at": job.created_at * traces.NS,
        "job.started_at": job.started_at * traces.NS if job.started_at is not None else None,
        "job.status_code_updated_at": job.status_code_updated_at,
        "job.requires_db": job.requires_db,
    }


def _results(move: Move) -> Attributes:
    """What is known of the program's end (numbers, digests: no names, no patterns)."""
    if move.exit_code is None and move.image_id is None:
        return {}
    return {
        "job.exit_code": move.exit_code,
        "job.image_id": move.image_id,
        "job.executor_message": move.after.status_message,
        **dict.fromkeys((f"job.{name}" for name in UNREPORTED.split()), UNKNOWN),
    }


def _failure(job: StoredJob) -> Failure | None:
    """A user's job that failed is no error of the system; only an internal error is."""
    if job.status_code is not StatusCode.INTERNAL_ERROR:
        return None
    return Failure("InternalError", job.status_message.partition("\n")[0])
