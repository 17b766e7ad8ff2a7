"""Following RAPs (rap-api.md A8): the read model alone answers."""

import time
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple

import orjson
import structlog

from api.encoding import encoded
from rap.presentation import BackendView, present
from rap.records import Records
from rap.records.seen import Seen, SeenJob
from rap.rows import BackendRow, IntentState

log = structlog.get_logger()


class StatusAnswer(NamedTuple):
    """The body of a status answer, and what is told about it."""

    body: bytes
    recognised: list[str]
    unrecognised: list[str]


class StatusReader:
    """Makes the answers to status requests; safe to use from several threads."""

    def __init__(self) -> None:
        self._views: dict[str, BackendView] = {}

    def answer(
        self, records: Records, backends: tuple[str, ...], rap_ids: Iterable[str]
    ) -> StatusAnswer:
        """The answer about these RAPs, as far as they are on these backends; blocks while it reads.

        A RAP whose create is undecided is left out altogether: neither can its jobs be shown, nor
        may it be called unrecognised, which clients take as final.

        Raises:
            Unavailable: the read model does not answer.
        """
        asked = dict.fromkeys(rap_ids)
        seen = records.seen(asked, backends)
        shown, unshown = self._shown(seen)
        known = {job.rap_id for job in seen.jobs} | seen.unreadable
        unrecognised = [
            rap_id
            for rap_id in asked
            if rap_id not in known and not _is_undecided(seen, rap_id, backends)
        ]
        return StatusAnswer(
            body=encoded({"jobs": shown, "unrecognised_rap_ids": unrecognised}),
            recognised=sorted(known - unshown),
            unrecognised=unrecognised,
        )

    def _shown(self, seen: Seen) -> tuple[list[dict[str, Any]], set[str]]:
        """The jobs on the wire, and the RAPs that cannot be shown.

        One broken record must not keep the others from being shown (rap-api.md B9).
        """
        now = time.time()
        views = {slug: self._view(row) for slug, row in seen.backends.items()}
        broken = set(seen.unreadable)
        try:
            shown = [_on_the_wire(job, views, now, seen) for job in seen.jobs]
        except (ValueError, OverflowError, OSError):
            shown = []
            for rap_id, jobs in groupby(seen.jobs, key=attrgetter("rap_id")):
                try:
                    shown += [_on_the_wire(job, views, now, seen) for job in jobs]
                except (ValueError, OverflowError, OSError):
                    broken.add(rap_id)
        for rap_id in sorted(broken):
            log.error("A RAP cannot be shown: one of its records is broken", rap=rap_id)
        return shown, broken

    def _view(self, row: BackendRow) -> BackendView:
        known = self._views.get(row.slug)
        if known is None or known.row is not row:
            known = self._views[row.slug] = BackendView(row)
        return known


def _on_the_wire(
    job: SeenJob, views: dict[str, BackendView], now: float, seen: Seen
) -> dict[str, Any]:
    members = present(job, views.get(job.backend), now, seen.awaited)
    members["trace_context"] = orjson.Fragment(job.trace_context)
    members["metrics"] = orjson.Fragment(job.metrics)
    return members


def _is_undecided(seen: Seen, rap_id: str, backends: tuple[str, ...]) -> bool:
    intent = seen.intents.get(rap_id)
    # An accepted one whose jobs are not here yet exists all the same.
    return (
        intent is not None
        and intent.backend in backends
        and intent.state is not IntentState.REFUSED
    )
