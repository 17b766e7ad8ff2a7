"""A backend's waiting jobs in few bytes, for the next run of its workflow. Pure.

Temporal takes 2 MiB for a start, compressed by :mod:`rap.temporal.codec`. The jobs of a RAP have
most in common, so they travel together and by columns; an id that follows from the RAP and the
action does not travel at all. So 100,000 jobs fit, if RAPs have two or more.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import TypeVar

from rap import ids
from rap.messages.slots import Reservation, SlotRequest
from rap.models import Model

Value = TypeVar("Value")


class WaitingOfRap(Model):
    """The waiting jobs of a RAP that were created at one moment.

    Each tuple has a value for each job, or a single one that is that of all.
    """

    rap_id: str
    workspace: str
    created_at: int
    actions: tuple[str, ...]
    job_ids: tuple[str, ...]
    """Empty: as it follows from the RAP and the action."""
    positions: tuple[int, ...]
    attempts: tuple[int, ...]
    requires_db: tuple[bool, ...]
    weights: tuple[float, ...]
    since: tuple[float, ...]
    images: tuple[str, ...] = ("",)


def pack(jobs: Iterable[Reservation]) -> tuple[WaitingOfRap, ...]:
    """The waiting jobs together by their RAPs."""
    together: dict[tuple[str, str, int], list[Reservation]] = {}
    for job in jobs:
        key = (job.rap_id, job.request.workspace, job.request.created_at)
        together.setdefault(key, []).append(job)
    return tuple(_packed(some) for some in together.values())


def unpack(packed: Iterable[WaitingOfRap]) -> Iterator[Reservation]:
    """The waiting jobs one by one.

    Nothing is validated again: there may be a hundred thousand.
    """
    for rap in packed:
        columns = (
            rap.actions, rap.job_ids, rap.positions, rap.attempts, rap.requires_db, rap.weights,
            rap.since, rap.images,
        )  # fmt: skip
        count = max(map(len, columns))
        rows = zip(*(_spread(column, count) for column in columns), strict=True)
        for action, job_id, position, attempt, requires_db, weight, since, image in rows:
            request = SlotRequest.model_construct(
                job_id=job_id or ids.job_id(rap.rap_id, action),
                workspace=rap.workspace,
                requires_db=requires_db,
                weight=weight,
                created_at=rap.created_at,
                position=position,
                attempt=attempt,
                action=action,
                image=image,
            )
            yield Reservation.model_construct(
                rap_id=rap.rap_id, request=request, since=since, host=None
            )


def _packed(jobs: Sequence[Reservation]) -> WaitingOfRap:
    rap_id, requests = jobs[0].rap_id, [job.request for job in jobs]
    return WaitingOfRap.model_construct(
        rap_id=rap_id,
        workspace=requests[0].workspace,
        created_at=requests[0].created_at,
        # Two jobs differ in their position or their id, so one column always has them all.
        actions=_column([request.action for request in requests]),
        job_ids=_column(
            [
                "" if request.job_id == ids.job_id(rap_id, request.action) else request.job_id
                for request in requests
            ]
        ),
        positions=_column([request.position for request in requests]),
        attempts=_column([request.attempt for request in requests]),
        requires_db=_column([request.requires_db for request in requests]),
        weights=_column([request.weight for request in requests]),
        since=_column([job.since for job in jobs]),
        images=_column([request.image for request in requests]),
    )


def _column(values: Sequence[Value]) -> tuple[Value, ...]:
    return tuple(values[:1]) if values.count(values[0]) == len(values) else tuple(values)


def _spread(column: Sequence[Value], count: int) -> Iterable[Value]:
    return column if len(column) == count else repeat(column[0], count)
