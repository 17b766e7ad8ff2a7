"""Who gets the next worker slot of a backend, and where (controller.md 9.2-9.4).

Pure. A backend has two pools of slots, one for database jobs and one for the others; each job takes
its weight out of its pool. Waiting jobs are considered in this order: RAPs with the higher priority
first, jobs of the workspace with the fewest running jobs first, database jobs before others, then
the older; the count of a workspace rises as its jobs are granted.

Nobody starves: a workspace that has been passed over :data:`PATIENCE` times in a pool goes next
there, and the pool is held for its job until that fits.
"""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from pydantic import Field

from rap.messages import USUAL_PRIORITY, BackendLimits, Reservation, SlotGrant
from rap.models import Model

PATIENCE = 100
"""Slots of a pool that go to other workspaces before one that waits all the time is served."""

Line = tuple[str, bool]
"""The waiting jobs of one workspace in one pool: the workspace, and whether database jobs."""

Age = tuple[bool, int, int, float, str]


class Schedule(Model):
    """One decision: what starts now, and in which order the rest waits."""

    grants: tuple[SlotGrant, ...] = ()
    queue: tuple[str, ...] = ()
    """Job ids that go on waiting, in the order in which they will be considered."""
    passed_over: dict[Line, int] = Field(default_factory=dict)
    """How often each line was passed over until now, for the next decision."""


def schedule(
    running: Iterable[Reservation],
    waiting: Iterable[Reservation],
    *,
    limits: BackendLimits,
    room: Mapping[str, int],
    paused: bool,
    maintenance: bool,
    priorities: Mapping[str, int] = MappingProxyType({}),
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
        priorities: RAP to its priority, 1 (first) to 5, where it is not the usual one.
        passed_over: what the decision before this one returned.
        patience: see :data:`PATIENCE`.
    """
    pools = {False: _Pool(limits.max_workers), True: _Pool(limits.max_db_workers)}
    counts: Counter[str] = Counter()
    for slot in running:
        counts[slot.request.workspace] += 1
        pools[slot.request.requires_db].used += slot.request.weight
    hosts = _Hosts(room)
    queues = _Queues(waiting, counts, priorities)

    grants: list[SlotGrant] = []
    queue: list[str] = []
    due = [line for line, times in passed_over.items() if times >= patience]
    due.sort(key=lambda line: (-passed_over[line], line))
    served: Counter[Line] = Counter()
    for job, is_due in _in_turn(queues, pools, due):
        request = job.request
        pool = pools[request.requires_db]
        held = paused or (maintenance and request.requires_db)
        if held or not hosts or not pool.admits(request.weight):
            pool.is_held |= is_due
            queue.append(request.job_id)
            continue
        pool.used += request.weight
        counts[request.workspace] += 1
        served[request.workspace, request.requires_db] += 1
        grants.append(SlotGrant(job_id=request.job_id, attempt=request.attempt, host=hosts.take()))
    return Schedule(
        grants=tuple(grants),
        queue=tuple(queue),
        passed_over=_count_passes(queues.lines, passed_over, served),
    )


def never_fits(job: Reservation, limits: BackendLimits) -> bool:
    """Whether a job is heavier than its whole pool, so that it would wait for ever."""
    request = job.request
    return request.weight > (limits.max_db_workers if request.requires_db else limits.max_workers)


class _Pool:
    """The slots for one kind of job."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.used = 0.0
        self.is_held = False
        """Set while a job that is due waits for enough of it to become free."""

    def admits(self, weight: float) -> bool:
        return not self.is_held and self.used + weight <= self.limit


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


class _Queues:
    """The waiting jobs, each workspace's in an order that no grant changes.

    ``counts`` is read again after each job: the caller raises it with a grant.
    """

    def __init__(
        self, waiting: Iterable[Reservation], counts: Counter[str], priorities: Mapping[str, int]
    ) -> None:
        self._counts, self._priorities = counts, priorities
        by_workspace: defaultdict[str, list[Reservation]] = defaultdict(list)
        for job in waiting:
            by_workspace[job.request.workspace].append(job)
        self._jobs = {
            name: deque(sorted(jobs, key=self._turn)) for name, jobs in by_workspace.items()
        }
        self.lines = Counter(
            (name, job.request.requires_db) for name, jobs in self._jobs.items() for job in jobs
        )

    def take_first_of(self, line: Line, heaviest: float) -> Reservation | None:
        """The first job of a line that is no heavier; it leaves the queues."""
        workspace, requires_db = line
        jobs = self._jobs.get(workspace, deque())
        for job in jobs:
            request = job.request
            if request.requires_db is requires_db and request.weight <= heaviest:
                jobs.remove(job)
                return job
        return None

    def in_order(self) -> Iterator[Reservation]:
        """All jobs in the order of controller.md 9.2; only the workspaces' first ones compete."""
        heads = [self._head(name) for name, jobs in self._jobs.items() if jobs]
        heapq.heapify(heads)
        while heads:
            name = heapq.heappop(heads)[-1]
            jobs = self._jobs[name]
            yield jobs.popleft()
            if jobs:
                heapq.heappush(heads, self._head(name))

    def _head(self, name: str) -> tuple[int, int, Age, str]:
        priority, age = self._turn(self._jobs[name][0])
        return (priority, self._counts[name], age, name)

    def _turn(self, job: Reservation) -> tuple[int, Age]:
        return (self._priorities.get(job.rap_id, USUAL_PRIORITY), _age(job))


def _in_turn(
    queues: _Queues, pools: Mapping[bool, _Pool], due: Iterable[Line]
) -> Iterator[tuple[Reservation, bool]]:
    """First the jobs that have been passed over too often, then all others in order."""
    for line in due:
        # Not one that can never fit: it would hold its pool for ever.
        job = queues.take_first_of(line, pools[line[1]].limit)
        if job is not None:
            yield job, True
    for job in queues.in_order():
        yield job, False


def _count_passes(
    lines: Mapping[Line, int], before: Mapping[Line, int], served: Counter[Line]
) -> dict[Line, int]:
    """Begin anew for each line that was served; count what went to others for the rest."""
    granted = Counter[bool]()
    for (_, requires_db), times in served.items():
        granted[requires_db] += times
    counted = {
        line: before.get(line, 0) + granted[line[1]] for line in lines if not served.get(line)
    }
    return {line: times for line, times in counted.items() if times}


def _age(job: Reservation) -> Age:
    request = job.request
    return (
        not request.requires_db,
        request.created_at,
        request.position,
        job.since,
        request.job_id,
    )
