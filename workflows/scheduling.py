"""Who gets the next worker slot of a backend, and where (controller.md 9.2-9.4).

Pure. A backend has two pools of slots, one for database jobs and one for the others; each job takes
its weight out of its pool. Waiting jobs are considered in this order: jobs of the workspace with
the fewest running jobs first, database jobs before others, then the older; the count of a workspace
rises as its jobs are granted.
"""

import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping

from rap.messages import BackendLimits, Reservation, SlotGrant
from rap.models import Model


class Schedule(Model):
    """One decision: what starts now, and in which order the rest waits."""

    grants: tuple[SlotGrant, ...] = ()
    queue: tuple[str, ...] = ()
    """Job ids that go on waiting, in the order in which they will be considered."""


def schedule(
    running: Iterable[Reservation],
    waiting: Iterable[Reservation],
    *,
    limits: BackendLimits,
    room: Mapping[str, int],
    paused: bool,
    maintenance: bool,
) -> Schedule:
    """Decide about all waiting jobs of a backend.

    Args:
        running: the jobs that hold a slot.
        waiting: the jobs that ask for one.
        limits: the summed weight each pool may hold; equality is allowed.
        room: host to the number of jobs it will take now; only hosts that are alive.
        paused: nothing starts.
        maintenance: no database job starts.
    """
    counts: Counter[str] = Counter()
    used = {False: 0.0, True: 0.0}
    for slot in running:
        counts[slot.request.workspace] += 1
        used[slot.request.requires_db] += slot.request.weight
    limit = {False: limits.max_workers, True: limits.max_db_workers}
    free = {host: places for host, places in sorted(room.items()) if places > 0}

    grants: list[SlotGrant] = []
    queue: list[str] = []
    for job in _in_order(waiting, counts):
        request = job.request
        fits = used[request.requires_db] + request.weight <= limit[request.requires_db]
        held = paused or (maintenance and request.requires_db)
        if held or not fits or not free:
            queue.append(request.job_id)
            continue
        host = max(free, key=lambda name: free[name])
        free[host] -= 1
        if not free[host]:
            del free[host]
        used[request.requires_db] += request.weight
        counts[request.workspace] += 1
        grants.append(SlotGrant(job_id=request.job_id, attempt=request.attempt, host=host))
    return Schedule(grants=tuple(grants), queue=tuple(queue))


def never_fits(job: Reservation, limits: BackendLimits) -> bool:
    """Whether a job is heavier than its whole pool, so that it would wait for ever."""
    request = job.request
    return request.weight > (limits.max_db_workers if request.requires_db else limits.max_workers)


def _in_order(waiting: Iterable[Reservation], counts: Counter[str]) -> Iterable[Reservation]:
    """Yield the waiting jobs in the order of controller.md 9.2.

    Within a workspace the order never changes, so each workspace is a sorted queue, and only the
    heads compete. ``counts`` is read again after each job: the caller raises it with a grant.
    """
    by_workspace: defaultdict[str, list[Reservation]] = defaultdict(list)
    for job in waiting:
        by_workspace[job.request.workspace].append(job)
    queues = {name: deque(sorted(jobs, key=_age)) for name, jobs in by_workspace.items()}
    heads = [(counts[name], _age(jobs[0]), name) for name, jobs in queues.items()]
    heapq.heapify(heads)
    while heads:
        _, _, name = heapq.heappop(heads)
        yield queues[name].popleft()
        if queues[name]:
            heapq.heappush(heads, (counts[name], _age(queues[name][0]), name))


def _age(job: Reservation) -> tuple[bool, int, int, float, str]:
    request = job.request
    return (
        not request.requires_db,
        request.created_at,
        request.position,
        job.since,
        request.job_id,
    )
