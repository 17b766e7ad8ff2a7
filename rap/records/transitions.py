"""What a change of status code does to the record of a job
(docs/spec/controller.md 4.1, 4.2). Pure.

A record is replaced only by a later place in the job's life (:func:`rap.status.version`), and a
final one never again, so writes may come from several workflows, late and repeatedly.
"""

from rap.rows import JobChange, JobRow
from rap.sentences import CODE_SENTENCES
from rap.status import STARTING_CODES, StatusCode, version
from rap.stored_jobs import StoredJob

SIGN_OF_LIFE_AFTER = 60
"""Seconds after which a report without change moves ``updated_at``."""

_NS = 1_000_000_000
_CLAMP_NS = 1_000_000


def born(row: JobRow) -> StoredJob:
    """The record of a job that was just created."""
    code = StatusCode.CREATED
    return StoredJob(
        **row.model_dump(),
        attempt=1,
        version=version(1, code),
        status_code=code,
        status_message=CODE_SENTENCES[code],
        status_code_updated_at=row.created_at * _NS,
        updated_at=row.created_at,
        started_at=None,
        completed_at=None,
        metrics={},
    )


def advance(job: StoredJob, change: JobChange, *, shown: int = 0) -> StoredJob:
    """The record after a change; the same object if the change is stale and does nothing.

    ``shown`` is the last sign of life of the job's backend: while the job was not over, readers saw
    it as the job's own (:func:`rap.status_answers.present`), and it is not taken back.
    """
    if job.status_code.is_final:
        return job
    reached = version(change.attempt, change.code)
    if reached < job.version:
        return job
    if reached == job.version:
        return _refreshed(job, change) if change.code is job.status_code else job
    return _moved(job, change, reached, shown)


def _moved(job: StoredJob, change: JobChange, reached: int, shown: int) -> StoredJob:
    code = change.code
    moment = round(change.at * 1_000_000) * 1000  # a float holds no more than microseconds
    if moment < job.status_code_updated_at:
        moment = job.status_code_updated_at + _CLAMP_NS
    seconds = moment // _NS

    reported = change.metrics.model_dump() if change.metrics else None
    metrics = job.metrics if reported is None else reported
    new_run = code.is_reset or (change.attempt > job.attempt and not code.is_final)
    started_at = None if new_run else job.started_at
    if code in STARTING_CODES and started_at is None:
        started_at = seconds
        metrics = reported or {}
    if code is StatusCode.CANCELLED_BY_USER:
        metrics = reported or {}

    completed_at = None
    if code.is_final:
        completed_at = seconds if change.completed_at is None else int(change.completed_at)
        # Readers fail on a job that ends before it starts (docs/spec/rap-api.md A8.5).
        completed_at = max(completed_at, started_at or completed_at)
    return job._replace(
        attempt=change.attempt,
        version=reached,
        status_code=code,
        status_message=change.message,
        status_code_updated_at=moment,
        updated_at=max(seconds, shown) if code.is_final else seconds,
        started_at=started_at,
        completed_at=completed_at,
        metrics=metrics,
    )


def _refreshed(job: StoredJob, change: JobChange) -> StoredJob:
    # A report repeats the time at which its stage began, so the time says nothing about its age.
    seconds = int(change.at)
    alive = seconds - job.updated_at >= SIGN_OF_LIFE_AFTER
    refreshed = job._replace(
        status_message=change.message,
        metrics=change.metrics.model_dump() if change.metrics else job.metrics,
        updated_at=seconds if alive else job.updated_at,
    )
    return job if refreshed == job else refreshed
