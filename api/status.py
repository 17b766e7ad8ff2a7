"""Following RAPs (rap-api.md A8): the read model alone answers."""

import time
from collections.abc import Iterable
from typing import Any

from rap.presentation import BackendView, present
from rap.records import Records
from rap.rows import IntentState


def status_of(
    records: Records, backends: tuple[str, ...], rap_ids: Iterable[str]
) -> dict[str, Any]:
    """The body of a status answer; blocks while it reads.

    A RAP whose create is undecided is left out altogether: neither can its jobs be shown, nor may
    it be called unrecognised, which clients take as final.
    """
    asked = dict.fromkeys(rap_ids)
    jobs = records.jobs_of(asked, backends)
    seen = {job.rap_id for job in jobs}
    missing = [rap_id for rap_id in asked if rap_id not in seen]
    undecided = {
        rap_id
        for rap_id, intent in records.intents(missing).items()
        # An accepted one whose jobs are not here yet exists all the same.
        if intent.backend in backends and intent.state is not IntentState.REFUSED
    }
    rows = records.backends({job.backend for job in jobs})
    views = {slug: BackendView(row) for slug, row in rows.items()}
    now = time.time()
    return {
        "jobs": [present(job, views.get(job.backend), now) for job in jobs],
        "unrecognised_rap_ids": [rap_id for rap_id in missing if rap_id not in undecided],
    }
