"""Jobs as the commands show them: read from the read model alone, as the API reads them."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from rap.presentation import BackendView, present
from rap.records import Records
from rap.status import State

Job = dict[str, Any]
"""A job as on the wire (rap-api.md A8.2), and its ``workspace``."""

_LOOK_EVERY = 0.25
"""Seconds. The read model has no events to wait for."""


def jobs_of(records: Records, rap_ids: Sequence[str]) -> list[Job]:
    """The jobs of these RAPs, RAP by RAP, dependencies first."""
    stored = [job for rap_id in dict.fromkeys(rap_ids) for job in records.rap(rap_id)]
    rows = records.backends({job.backend for job in stored})
    views = {slug: BackendView(row) for slug, row in rows.items()}
    now = time.time()
    return [
        {**present(job, views.get(job.backend), now), "workspace": job.workspace} for job in stored
    ]


def follow(
    records: Records, rap_ids: Sequence[str], show: Callable[[list[Job]], None]
) -> list[Job]:
    """Show the jobs of RAPs again and again, until all have ended; the jobs as they ended."""
    while True:
        jobs = jobs_of(records, rap_ids)
        show(jobs)
        if all(has_ended(job) for job in jobs):
            return jobs
        time.sleep(_LOOK_EVERY)


def has_ended(job: Job) -> bool:
    """Whether a job will not change any more."""
    return not State(job["status"]).is_active


def exit_code(jobs: Sequence[Job]) -> int:
    """1 if a job has failed, else 0."""
    return int(any(job["status"] == State.FAILED for job in jobs))
