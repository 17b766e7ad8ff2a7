"""The jobs of any number of RAPs, as the read model alone tells them
(docs/spec/rap-api.md A8, A11).
"""

from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import Annotated, Any, NamedTuple

import orjson
import structlog
from fastapi import Depends
from opentelemetry import trace
from starlette.responses import Response

from api.auth import Client
from api.encoding import encoded
from api.errors import JSON
from api.request_bodies import STATUS, Body, reader
from api.services import Authenticated, Served, Services
from rap.records import Records
from rap.records.status_reads import StatusRead
from rap.rows import IntentState
from rap.status_answers import BackendView, present
from rap.stored_jobs import StatusRow
from rap.telemetry import traces

log = structlog.get_logger()

StatusBody = Annotated[Body, Depends(reader(STATUS))]


class _Answer(NamedTuple):
    """The body of a status answer, and what is told about it."""

    body: bytes
    recognised: list[str]
    unrecognised: list[str]


async def status(services: Served, client: Authenticated, body: StatusBody) -> Response:
    """Answer a status request whose body is valid.

    Raises:
        OutcomeUnknown: the read model took too long.
    """
    async with services.in_time("The status cannot be had at the moment."):
        answer = await services.ask(_read_and_tell, services, client, body["rap_ids"])
    return Response(answer.body, media_type=JSON)


def _read_and_tell(services: Services, client: Client, rap_ids: list[str]) -> _Answer:
    if not traces.is_on():
        return _read(services.records, client.backends, rap_ids)
    with traces.timed("find_matching_jobs.duration_ms"):
        answer = _read(services.records, client.backends, rap_ids)
    with traces.timed("find_extra_rap_ids.duration_ms"):
        active = services.records.active_raps(client.backends)
    asked = set(rap_ids)
    traces.add(
        trace.get_current_span(),
        {
            "valid_rap_ids": ",".join(answer.recognised),
            "unrecognised_rap_ids": ",".join(answer.unrecognised),
            "extra_rap_ids": ",".join(each for each in active if each not in asked),
        },
    )
    return answer


def _read(records: Records, backends: tuple[str, ...], rap_ids: Iterable[str]) -> _Answer:
    """The answer about these RAPs, as far as they are on these backends; blocks while it reads.

    A RAP whose create is undecided is left out altogether: neither can its jobs be shown, nor
    may it be called unrecognised, which clients take as final.

    Raises:
        Unavailable: the read model does not answer.
    """
    asked = dict.fromkeys(rap_ids)
    seen = records.read_status(asked, backends)
    shown, unshown = _shown(seen)
    known = {job.rap_id for job in seen.jobs} | seen.unreadable
    unrecognised = [
        rap_id
        for rap_id in asked
        if rap_id not in known and not _is_undecided(seen, rap_id, backends)
    ]
    return _Answer(
        body=encoded({"jobs": shown, "unrecognised_rap_ids": unrecognised}),
        recognised=sorted(known - unshown),
        unrecognised=unrecognised,
    )


def _shown(seen: StatusRead) -> tuple[list[dict[str, Any]], set[str]]:
    """The jobs on the wire, and the RAPs that cannot be shown.

    One broken record must not keep the others from being shown (docs/spec/rap-api.md B9).
    """
    views = {slug: BackendView(row) for slug, row in seen.backends.items()}
    broken = set(seen.unreadable)
    shown: list[dict[str, Any]] = []
    for rap_id, jobs in groupby(seen.jobs, key=attrgetter("rap_id")):
        try:
            shown += [_on_the_wire(job, views, seen) for job in jobs]
        except (ValueError, OverflowError, OSError):
            broken.add(rap_id)
    for rap_id in sorted(broken):
        log.error("A RAP cannot be shown: one of its records is broken", rap=rap_id)
    return shown, broken


def _on_the_wire(job: StatusRow, views: dict[str, BackendView], seen: StatusRead) -> dict[str, Any]:
    now = seen.moments.get(job.backend, 0.0)
    members = present(job, views.get(job.backend), now, seen.awaited)
    members["trace_context"] = orjson.Fragment(job.trace_context)
    members["metrics"] = orjson.Fragment(job.metrics)
    return members


def _is_undecided(seen: StatusRead, rap_id: str, backends: tuple[str, ...]) -> bool:
    intent = seen.intents.get(rap_id)
    # An accepted one whose jobs are not here yet exists all the same.
    return (
        intent is not None
        and intent.backend in backends
        and intent.state is not IntentState.REFUSED
    )
