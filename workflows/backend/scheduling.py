"""Who gets the next worker slot of a backend, and where (controller.md 9.2-9.4).

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
from types import MappingProxyType

from pydantic import Field

from rap.messages import BackendLimits, Reservation, SlotGrant
from rap.models import Model
from workflows.waiting import Line, Turn, WaitingJobs

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
    room: Mapping[str, int],
    paused: bool,
    maintenance: bool,
    passed_over: Mapping[Line, int] = MappingProxyType({}),
    patience: int = PATIENCE,
) -> Schedule:
    """Decide about all waiting jobs of a backend.

    Args:
        running: the jobs that hold a slot.
        waiting: the jobs that ask for one.
        limits: the summed weight each pool may hold; equality is allowed.
        room: host to the number of jobs it will take now; only hosts that are alive.
        paused: nothing starts.
        maintenance: no database job starts.
        passed_over: what the decision before this one returned.
        patience: see :data:`PATIENCE`.
    """
    pools = {
        False: _Pool(limits.max_workers, waiting.lightest(requires_db=False), is_closed=paused),
        True: _Pool(
            limits.max_db_workers,
            waiting.lightest(requires_db=True),
            is_closed=paused or maintenance,
        ),
    }
    counts: Counter[str] = Counter()
    for slot in running:
        counts[slot.request.workspace] += 1
        pools[slot.request.requires_db].used += slot.request.weight
    hosts = _Hosts(room)
    grants: list[SlotGrant] = []
    served: Counter[Line] = Counter()

    def grant(job: Reservation) -> None:
        request = job.request
        pools[request.requires_db].used += request.weight
        counts[request.workspace] += 1
        served[request.workspace, request.requires_db] += 1
        grants.append(SlotGrant(job_id=request.job_id, attempt=request.attempt, host=hosts.take()))

    for job in _due(waiting, pools, passed_over, patience):
        pool = pools[job.request.requires_db]
        if hosts and pool.admits(job.request.weight):
            grant(job)
        else:
            pool.is_closed = True
    due = {one.job_id for one in grants}
    for job in _in_order(waiting, counts, pools):
        if not hosts:
            break
        if job.request.job_id not in due and pools[job.request.requires_db].admits(
            job.request.weight
        ):
            grant(job)
    return Schedule(
        grants=tuple(grants), passed_over=_count_passes(waiting.lines, passed_over, served)
    )


def queue_order(running: Iterable[Reservation], waiting: WaitingJobs) -> list[Reservation]:
    """The waiting jobs in the order in which they will be considered."""
    counts = Counter(slot.request.workspace for slot in running)
    open_pools = {requires_db: _Pool(1.0, 0.0) for requires_db in (False, True)}
    return list(_in_order(waiting, counts, open_pools))


class _Pool:
    """The slots for one kind of job.

    Args:
        limit: the weight it may hold.
        lightest: the least weight of a job that waits for it.
        is_closed: whether it gives nothing now.
    """

    def __init__(self, limit: float, lightest: float, *, is_closed: bool = False) -> None:
        self.limit, self._lightest = limit, lightest
        self.used = 0.0
        self.is_closed = is_closed
        """Also set while a job that is due waits for enough of it to become free."""

    def admits(self, weight: float) -> bool:
        return not self.is_closed and self.used + weight <= self.limit

    @property
    def is_exhausted(self) -> bool:
        return not self.admits(self._lightest)


class _Hosts:
    """The living hosts that take more jobs; false once all are full."""

    def __init__(self, room: Mapping[str, int]) -> None:
        self._free = {host: places for host, places in sorted(room.items()) if places > 0}

    def __bool__(self) -> bool:
        return bool(self._free)

    def take(self) -> str:
        """Use one place of the host that has most."""
        host = max(self._free, key=self._free.__getitem__)
        self._free[host] -= 1
        if not self._free[host]:
            del self._free[host]
        return host


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
    """The waiting jobs of all pools with free slots in the order of controller.md 9.2.

    Within a line the order never changes, so only the first jobs of the lines compete. ``counts``
    and the pools are read again after each job: the caller raises them with a grant.
    """
    lines = {line: waiting.in_line(line) for line in waiting.lines if not _closed(pools, line)}
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


def _closed(pools: Mapping[bool, _Pool], line: Line) -> bool:
    return pools[line[1]].is_exhausted


def _count_passes(
    lines: Iterable[Line], before: Mapping[Line, int], served: Counter[Line]
) -> dict[Line, int]:
    """Begin anew for each line that was served; count what went to others for the rest."""
    granted = Counter[bool]()
    for (_, requires_db), times in served.items():
        granted[requires_db] += times
    counted = {line: before.get(line, 0) + granted[line[1]] for line in lines if line not in served}
    return {line: times for line, times in counted.items() if times}
