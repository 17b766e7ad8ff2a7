"""The order in which a backend considers its waiting jobs (docs/spec/controller.md 9.2). Pure.

The scheduler works it out as slots become free; readers, who are told which jobs wait and which
run, by sorting once.
"""

from collections import Counter
from collections.abc import Iterable, Mapping

from rap.messages.orders import USUAL_PRIORITY
from rap.rows import QueueEntry, SlotEntry


def in_order(
    waiting: Iterable[QueueEntry], slots: Iterable[SlotEntry], priorities: Mapping[str, int]
) -> tuple[QueueEntry, ...]:
    """Waiting jobs, the one to be considered first in front.

    By the priority of their RAPs, then for the workspace with the fewest running jobs, then
    database jobs before others, then the older.
    """
    running = Counter(slot.workspace for slot in slots)

    def turn(entry: QueueEntry) -> tuple[int, int, bool, int, int, float, str]:
        return (
            priorities.get(entry.rap_id, USUAL_PRIORITY),
            running[entry.workspace],
            not entry.requires_db,
            entry.created_at,
            entry.position,
            entry.since,
            entry.job_id,
        )

    return tuple(sorted(waiting, key=turn))
