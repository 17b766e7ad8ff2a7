"""The jobs that wait for a slot of a backend, kept in order from one decision to the next. Pure."""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from types import MappingProxyType

from rap.messages.orders import USUAL_PRIORITY
from rap.messages.slots import Reservation

Line = tuple[str, bool]
"""The waiting jobs of one workspace in one pool: the workspace, and whether database jobs."""

Turn = tuple[int, bool, int, int, float, str]
"""What orders the jobs of a workspace: priority, database jobs first, age; unique."""


class WaitingJobs:
    """A set of waiting jobs; adding and removing one costs next to nothing.

    ``priorities`` has the RAPs whose priority is not the usual one.
    """

    def __init__(
        self, jobs: Iterable[Reservation] = (), priorities: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        self.priorities = dict(priorities)
        self._jobs: dict[str, Reservation] = {}
        self._turns: dict[str, Turn] = {}
        self._lines: dict[Line, list[Turn]] = {}
        self._weights: Counter[tuple[bool, float]] = Counter()
        self._changed: dict[str, None] = {}
        for job in {job.request.job_id: job for job in jobs}.values():
            self._lines.setdefault(_line(job), []).append(self._enter(job))
        for turns in self._lines.values():
            turns.sort()
        self._changed.clear()

    def changed(self) -> tuple[str, ...]:
        """The ids of jobs that were added, removed or altered since this was asked last."""
        changed = tuple(self._changed)
        self._changed.clear()
        return changed

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[Reservation]:
        return iter(self._jobs.values())

    def get(self, job_id: str) -> Reservation | None:
        """The waiting job of this id."""
        return self._jobs.get(job_id)

    def add(self, job: Reservation) -> None:
        """Take a job in; it replaces one of the same id."""
        self.remove(job.request.job_id)
        insort(self._lines.setdefault(_line(job), []), self._enter(job))

    def _enter(self, job: Reservation) -> Turn:
        """Take note of a job that is not here yet; its turn is to be put in line."""
        request = job.request
        turn = (
            self.priorities.get(job.rap_id, USUAL_PRIORITY),
            not request.requires_db,
            request.created_at,
            request.position,
            job.since,
            request.job_id,
        )
        self._changed[request.job_id] = None
        self._jobs[request.job_id] = job
        self._turns[request.job_id] = turn
        self._weights[request.requires_db, request.weight] += 1
        return turn

    def remove(self, job_id: str) -> None:
        """Let a job go, if it is there."""
        if job_id in self._jobs:
            self.pop(job_id)

    def pop(self, job_id: str) -> Reservation:
        """Let a job go that is there; returns it."""
        job = self._jobs.pop(job_id)
        self._changed[job_id] = None
        line, turn = _line(job), self._turns.pop(job_id)
        turns = self._lines[line]
        del turns[bisect_left(turns, turn)]
        if not turns:
            del self._lines[line]
        weight = (job.request.requires_db, job.request.weight)
        self._weights[weight] -= 1
        if not self._weights[weight]:
            del self._weights[weight]
        return job

    def prioritise(self, rap_id: str, priority: int) -> None:
        """Set how urgent a RAP is, for its waiting jobs and those to come."""
        if priority == USUAL_PRIORITY:
            self.priorities.pop(rap_id, None)
        else:
            self.priorities[rap_id] = priority
        for job in [job for job in self if job.rap_id == rap_id]:
            self.add(job)

    @property
    def lines(self) -> Iterable[Line]:
        """The workspaces and pools that jobs wait in."""
        return self._lines.keys()

    def in_line(self, line: Line) -> Iterator[Reservation]:
        """The jobs of a line, the first in turn first."""
        return (self._jobs[turn[-1]] for turn in self._lines.get(line, ()))

    def turn(self, job: Reservation) -> Turn:
        """Where a waiting job stands among those of its workspace."""
        return self._turns[job.request.job_id]

    def lightest(self, *, requires_db: bool) -> float:
        """The least weight that waits for a pool; infinite if none does."""
        return min((weight for kind, weight in self._weights if kind is requires_db), default=inf)


def _line(job: Reservation) -> Line:
    return job.request.workspace, job.request.requires_db
