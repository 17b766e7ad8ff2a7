"""When a waiting job will likely start, judged by how long such jobs took before. Pure.

An estimate is an honest guess: it takes the jobs in the order of the queue and gives each the
median of its kind. Where that is not known, nothing is said, nor of what would have to wait for it.
"""

import heapq
from collections.abc import Iterable, Mapping
from math import inf, isinf
from statistics import median
from typing import NamedTuple

from rap.durations import roughly
from rap.rows import BackendRow, HoldUp, QueueEntry, SlotEntry


class Took(NamedTuple):
    """How long a job took that succeeded."""

    workspace: str
    action: str
    requires_db: bool
    seconds: float


class Durations:
    """What is known of past jobs of one backend."""

    def __init__(self, past: Iterable[Took]) -> None:
        self._of_action: dict[tuple[str, str], list[float]] = {}
        self._of_kind: dict[bool, list[float]] = {}
        for each in past:
            self._of_action.setdefault((each.workspace, each.action), []).append(each.seconds)
            self._of_kind.setdefault(each.requires_db, []).append(each.seconds)

    def usual(self, workspace: str, action: str, *, requires_db: bool) -> float | None:
        """Seconds that a job will likely take; ``None`` without any history.

        The median of the same action in the workspace, else that of the backend's jobs of its kind.
        """
        known = self._known(workspace, action, requires_db=requires_db)
        return median(known) if known else None

    def remaining(
        self, workspace: str, action: str, *, requires_db: bool, elapsed: float
    ) -> float | None:
        """Seconds that a running job will likely go on; ``None`` if none ever took so long."""
        known = self._known(workspace, action, requires_db=requires_db)
        longer = [seconds for seconds in known if seconds > elapsed]
        return median(longer) - elapsed if longer else None

    def _known(self, workspace: str, action: str, *, requires_db: bool) -> list[float]:
        return self._of_action.get((workspace, action)) or self._of_kind.get(requires_db, [])


def likely_waits(
    row: BackendRow, actions: Mapping[str, str], past: Durations, now: float
) -> dict[str, float | None]:
    """Job id to the seconds until each waiting job will likely start; ``None``: unknown."""
    waits: dict[str, float | None] = {entry.job_id: None for entry in row.queue}
    if row.hold_up is not HoldUp.NONE:
        return waits
    for requires_db, limit in ((False, row.max_workers), (True, row.max_db_workers)):
        if requires_db and row.maintenance:
            continue
        pool = _Pool(limit)
        for slot in row.slots:
            if slot.requires_db is requires_db:
                left = remaining(slot, actions, past, now)
                pool.take(slot.weight, inf if left is None else left)
        for entry in row.queue:
            # One that never fits holds nobody up.
            if entry.requires_db is requires_db and entry.weight <= limit:
                start = pool.room_for(entry.weight)
                waits[entry.job_id] = None if isinf(start) else start
                pool.take(entry.weight, start + _length(entry, actions, past))
    return waits


def wait_words(seconds: float | None) -> str:
    """An estimate as it is shown: ``about 20 min``, or that it is unknown."""
    if seconds is None:
        return "unknown"
    words = roughly(seconds)
    return words if seconds < 60 else f"about {words}"


def remaining(
    slot: SlotEntry, actions: Mapping[str, str], past: Durations, now: float
) -> float | None:
    """Seconds that the job in a slot will likely go on; ``None``: unknown."""
    action, elapsed = actions.get(slot.job_id, ""), max(0.0, now - slot.since)
    return past.remaining(slot.workspace, action, requires_db=slot.requires_db, elapsed=elapsed)


def _length(entry: QueueEntry, actions: Mapping[str, str], past: Durations) -> float:
    action = actions.get(entry.job_id, "")
    usual = past.usual(entry.workspace, action, requires_db=entry.requires_db)
    return inf if usual is None else usual


class _Pool:
    """The slots of one kind, as they become free from now on."""

    def __init__(self, limit: float) -> None:
        self._limit, self._used, self._now = limit, 0.0, 0.0
        self._ends: list[tuple[float, float]] = []

    def take(self, weight: float, end: float) -> None:
        self._used += weight
        heapq.heappush(self._ends, (end, weight))

    def room_for(self, weight: float) -> float:
        """Seconds until so much is free; infinite if that is not known."""
        while self._ends and self._used + weight > self._limit:
            end, freed = heapq.heappop(self._ends)
            self._now = max(self._now, end)
            self._used -= freed
        return self._now
