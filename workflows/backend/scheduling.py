"""Who gets the next worker slot of a backend, and where (docs/spec/controller.md 9.2-9.4).

Pure. A backend has two pools of slots, one for database jobs and one for the others; each job takes
its weight out of its pool. Waiting jobs are considered in this order: RAPs with the higher priority
first, jobs of the workspace with the fewest running jobs first, database jobs before others, then
the older; the count of a workspace rises as its jobs are granted.

Nobody starves: a workspace that has been passed over :data:`PATIENCE` times in a pool goes next
there, and the pool is held for its job until that fits.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import Field

from rap.messages.backends import BackendLimits
from rap.messages.slots import Reservation, SlotGrant
from rap.models import Model
from workflows.backend.hosts import Hosts
from workflows.backend.queue import Line, Turn, WaitingJobs

PATIENCE = 100
"""Slots of a pool that go to other workspaces before one that waits all the time is served."""


class Schedule(Model):
    """One decision: what starts now."""

    grants: tuple[SlotGrant, ...] = ()
    passed_over: dict[Line, int] = Field(default_factory=dict)
    """How often each line was passed over until now, for the next decision."""


def schedule(
    running: Iterable[Reservation],
    waiting: WaitingJobs,
    *,
    limits: BackendLimits,
    hosts: Hosts,
    paused: bool,
    maintenance: bool,
    passed_over: Mapping[Line, int] = MappingProxyType({}),
    patience: int = PATIENCE,
) -> Schedule:
    """Decide about all waiting jobs of a backend.

    A pool may hold a summed weight up to its limit. ``hosts`` are
    those that take jobs now. ``passed_over`` is what the decision before this one returned.
    """
    pools = {
        False: _Pool(limits.max_workers, waiting.lightest(requires_db=False), paused),
        True: _Pool(
            limits.max_db_workers,
            waiting.lightest(requires_db=True),
            paused or maintenance or not hosts.take_database_jobs,
        ),
    }
    counts: Counter[str] = Counter()
    for slot in running:
        counts[slot.request.workspace] += 1
        pools[slot.request.requires_db].used += slot.request.weight
    grants: list[SlotGrant] = []
    served: Counter[Line] = Counter()

    def grant(job: Reservation) -> None:
        request = job.request
        pools[request.requires_db].used += request.weight
        counts[request.workspace] += 1
        served[request.workspace, request.requires_db] += 1
        host = hosts.take(request)
        grants.append(SlotGrant(job_id=request.job_id, attempt=request.attempt, host=host))

    for job in _due(waiting, pools, passed_over, patience):
        pool = pools[job.request.requires_db]
        if hosts and not hosts.admit(job.request):
            continue  # it waits for its image, and no pool is held for that
        if hosts and pool.admits(job.request.weight):
            grant(job)
        else:
            pool.is_closed = True
    due = {one.job_id for one in grants}
    for job in _in_order(waiting, counts, pools):
        if not hosts:
            break
        request = job.request
        if (
            request.job_id not in due
            and pools[request.requires_db].admits(request.weight)
            and hosts.admit(request)
        ):
            grant(job)
    return Schedule(
        grants=tuple(grants), passed_over=_count_passes(waiting.lines, passed_over, served)
    )


def queue_order(running: Iterable[Reservation], waiting: WaitingJobs) -> Iterator[Reservation]:
    """The waiting jobs in the order in which they will be considered.

    The first cost next to nothing; :func:`rap.queue_order.in_order` is quicker for all of them.
    """
    counts = Counter(slot.request.workspace for slot in running)
    open_pools = {requires_db: _Pool(1.0, 0.0) for requires_db in (False, True)}
    return _in_order(waiting, counts, open_pools)


@dataclass
class _Pool:
    """The slots for one kind of job, of which the ``lightest`` that waits has this weight."""

    limit: float
    lightest: float
    is_closed: bool = False
    """Also set while a job that is due waits for enough of it to become free."""
    used: float = 0.0

    def admits(self, weight: float) -> bool:
        return not self.is_closed and self.used + weight <= self.limit

    @property
    def is_exhausted(self) -> bool:
        return not self.admits(self.lightest)


def _due(
    waiting: WaitingJobs, pools: Mapping[bool, _Pool], passed_over: Mapping[Line, int], limit: int
) -> Iterator[Reservation]:
    """The first jobs of the lines that were passed over too often, the most patient line first.

    Not a job that can never fit: the pool would be held for it for ever.
    """
    lines = [
        line
        for line, times in passed_over.items()
        if times >= limit and not pools[line[1]].is_closed
    ]
    for line in sorted(lines, key=lambda line: (-passed_over[line], line)):
        for job in waiting.in_line(line):
            if job.request.weight <= pools[line[1]].limit:
                yield job
                break


def _in_order(
    waiting: WaitingJobs, counts: Counter[str], pools: Mapping[bool, _Pool]
) -> Iterator[Reservation]:
    """The waiting jobs of all pools with free slots in the order of docs/spec/controller.md 9.2.

    Within a line the order never changes, so only the first jobs of the lines compete. ``counts``
    and the pools are read again after each job: the caller raises them with a grant.
    """
    lines = {
        line: waiting.in_line(line) for line in waiting.lines if not pools[line[1]].is_exhausted
    }
    heads: list[tuple[int, int, Turn, Line]] = []
    firsts: dict[Line, Reservation] = {}

    def push(line: Line) -> None:
        job = firsts.get(line) or next(lines[line], None)
        if job is not None:
            firsts[line] = job
            turn = waiting.turn(job)
            heapq.heappush(heads, (turn[0], counts[line[0]], turn, line))

    for line in lines:
        push(line)
    while heads:
        _, count, _, line = heapq.heappop(heads)
        if pools[line[1]].is_exhausted:
            continue
        if count == counts[line[0]]:
            yield firsts.pop(line)
        push(line)


def _count_passes(
    lines: Iterable[Line], before: Mapping[Line, int], served: Counter[Line]
) -> dict[Line, int]:
    """Begin anew for each line that was served; count what went to others for the rest."""
    granted = Counter[bool]()
    for (_, requires_db), times in served.items():
        granted[requires_db] += times
    counted = {line: before.get(line, 0) + granted[line[1]] for line in lines if line not in served}
    return {line: times for line, times in counted.items() if times}
