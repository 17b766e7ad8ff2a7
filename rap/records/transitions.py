"""What a change of status code does to the record of a job (controller.md 4.1, 4.2). Pure.

A record is replaced only by a later place in the job's life (:func:`rap.status.version`), and a
final one never again, so writes may come from several workflows, late and repeatedly.
"""

from typing import NamedTuple

from rap.rows import JobChange, JobRow
from rap.status import StatusCode, version

SIGN_OF_LIFE_AFTER = 60
"""Seconds after which a report without change moves ``updated_at``."""

_NS = 1_000_000_000
_CLAMP_NS = 1_000_000


class Life(NamedTuple):
    """The part of a job's record that changes; the fields are those of the job table."""

    attempt: int
    version: int
    status_code: StatusCode
    status_message: str
    status_code_updated_at: int
    updated_at: int
    started_at: int | None
    completed_at: int | None
    metrics: dict[str, float]


def born(row: JobRow) -> Life:
    """The record of a job that was just created."""
    code = StatusCode.CREATED
    return Life(
        attempt=1,
        version=version(1, code),
        status_code=code,
        status_message=code.message,
        status_code_updated_at=row.created_at * _NS,
        updated_at=row.created_at,
        started_at=None,
        completed_at=None,
        metrics={},
    )


def advance(life: Life, change: JobChange) -> Life:
    """The record after a change; the same object if the change is stale and does nothing."""
    if life.status_code.is_final:
        return life
    reached = version(change.attempt, change.code)
    if reached < life.version:
        return life
    if reached == life.version:
        return _refreshed(life, change) if change.code is life.status_code else life
    return _moved(life, change, reached)


def _moved(life: Life, change: JobChange, reached: int) -> Life:
    code = change.code
    moment = round(change.at * 1_000_000) * 1000  # a float holds no more than microseconds
    if moment < life.status_code_updated_at:
        moment = life.status_code_updated_at + _CLAMP_NS
    seconds = moment // _NS

    reported = change.metrics.model_dump() if change.metrics else None
    metrics = life.metrics if reported is None else reported
    new_run = code.is_reset or (change.attempt > life.attempt and not code.is_final)
    started_at = None if new_run else life.started_at
    if code.starts_the_clock and started_at is None:
        started_at = seconds
        metrics = reported or {}
    if code is StatusCode.CANCELLED_BY_USER:
        metrics = reported or {}

    completed_at = None
    if code.is_final:
        completed_at = seconds if change.completed_at is None else int(change.completed_at)
        # Readers fail on a job that ends before it starts (rap-api.md A8.5).
        completed_at = max(completed_at, started_at or completed_at)
    return Life(
        attempt=change.attempt,
        version=reached,
        status_code=code,
        status_message=change.message,
        status_code_updated_at=moment,
        updated_at=seconds,
        started_at=started_at,
        completed_at=completed_at,
        metrics=metrics,
    )


def _refreshed(life: Life, change: JobChange) -> Life:
    # A report repeats the time at which its stage began, so the time says nothing about its age.
    seconds = int(change.at)
    alive = seconds - life.updated_at >= SIGN_OF_LIFE_AFTER
    refreshed = life._replace(
        status_message=change.message,
        metrics=change.metrics.model_dump() if change.metrics else life.metrics,
        updated_at=seconds if alive else life.updated_at,
    )
    return life if refreshed == life else refreshed
