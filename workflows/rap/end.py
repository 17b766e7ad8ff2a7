"""How a RAP ends: its status code, what it says of itself, and what its close tells. Pure."""

from collections.abc import Collection, Iterable
from typing import Protocol

from rap.messages.workspaces import RapEnd
from rap.models import JobSpec
from rap.status import State, StatusCode

NO_FAILURES = (StatusCode.SUCCEEDED, StatusCode.CANCELLED_BY_USER)
"""A RAP with one of these codes closes as Completed: what its user cancelled has not failed."""

_LESSER = (StatusCode.CANCELLED_BY_USER, StatusCode.DEPENDENCY_FAILED)
"""Codes that tell why a RAP has not succeeded only where nothing worse happened to it."""


class EndedJob(Protocol):
    """What is known of a job that has ended."""

    spec: JobSpec
    code: StatusCode
    attempt: int

    @property
    def message(self) -> str:
        """The sentence for the code."""

    @property
    def began_at(self) -> float | None:
        """When the last attempt was started, if one was."""

    @property
    def ended_at(self) -> float | None:
        """When it reached its end."""


def rap_code(codes: Iterable[StatusCode]) -> StatusCode:
    """The status code of a RAP that has ended: why its first failed job did, else succeeded.

    A job that failed counts more than one that was cancelled, and that more than those that did
    not start for it.
    """
    failed = [one for one in codes if one is not StatusCode.SUCCEEDED]
    causes = [one for one in failed if one not in _LESSER]
    lesser = [one for code in _LESSER for one in failed if one is code]
    return next(iter([*causes, *lesser]), StatusCode.SUCCEEDED)


def rap_end(jobs: Collection[EndedJob]) -> RapEnd:
    """What programs need to know of the jobs, in their order."""
    return RapEnd(
        codes=tuple(job.code for job in jobs),
        attempts=tuple(job.attempt for job in jobs),
        started_at=tuple(None if job.began_at is None else round(job.began_at) for job in jobs),
        ended_at=tuple(None if job.ended_at is None else round(job.ended_at) for job in jobs),
    )


def failure_sentence(jobs: Collection[EndedJob], code: StatusCode) -> str:
    """How many jobs failed, and why the one did that gives the RAP its code."""
    failed = sum(
        job.code.state is State.FAILED and job.code is not StatusCode.CANCELLED_BY_USER
        for job in jobs
    )
    first = next(job for job in jobs if job.code is code)
    noun = "job" if len(jobs) == 1 else "jobs"
    return f"{failed} of {len(jobs)} {noun} failed. {first.spec.action}: {first.message}"
