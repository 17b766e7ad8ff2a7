"""When a waiting job will likely start."""

from typing import Any

import pytest

from cli.operations.estimates import Durations, Took, likely_waits, wait_words
from rap.rows import BackendRow, HoldUp, MaintenanceType, QueueEntry, SlotEntry
from tests.support import factories
from tests.support.records import backend_row

pytestmark = pytest.mark.unit

NOW = 1000.0
MIN = 60.0


def slot(action: str, elapsed: float = 0.0, weight: float = 1.0, *, db: bool = False) -> SlotEntry:
    return factories.slot(action, requires_db=db, weight=weight, since=NOW - elapsed)


def queued(action: str, weight: float = 1.0, *, db: bool = False) -> QueueEntry:
    return factories.queued(action, requires_db=db, weight=weight, since=NOW)


def past(**minutes: Any) -> Durations:
    return Durations(Took("w", action, False, each * MIN) for action, each in minutes.items())


def waits(row: BackendRow, durations: Durations) -> dict[str, float | None]:
    jobs = [slot.job_id for slot in row.slots] + [waiting.job_id for waiting in row.queue]
    return likely_waits(row, {job: job.rstrip("'") for job in jobs}, durations, NOW)


def test_a_job_takes_what_its_action_took_in_the_workspace_else_its_kind_on_the_backend() -> None:
    durations = Durations(
        [
            Took("w", "a", False, 10),
            Took("w", "a", False, 20),
            Took("w", "a", False, 90),
            Took("other", "a", False, 1000),
            Took("other", "d", True, 7000),
        ]
    )
    assert durations.usual("w", "a", requires_db=False) == 20
    assert durations.usual("w", "never", requires_db=False) == 55
    assert durations.usual("w", "never", requires_db=True) == 7000
    assert Durations([]).usual("w", "a", requires_db=False) is None


def test_a_job_that_runs_longer_than_usual_is_compared_with_those_that_did() -> None:
    durations = Durations(Took("w", "a", False, each) for each in (10, 20, 90))
    assert durations.remaining("w", "a", requires_db=False, elapsed=5) == 15
    assert durations.remaining("w", "a", requires_db=False, elapsed=50) == 40
    assert durations.remaining("w", "a", requires_db=False, elapsed=100) is None


def test_the_queue_is_served_in_order_as_slots_become_free() -> None:
    row = backend_row(
        max_workers=2,
        slots=(slot("a", elapsed=4 * MIN), slot("b")),
        queue=(queued("c"), queued("d"), queued("e")),
    )
    durations = past(a=10, b=20, c=5, d=1, e=1)
    assert waits(row, durations) == {"c": 6 * MIN, "d": 11 * MIN, "e": 12 * MIN}


def test_free_slots_are_taken_at_once_and_pools_are_apart() -> None:
    row = backend_row(
        max_workers=1,
        max_db_workers=1,
        slots=(slot("data", db=True),),
        queue=(queued("a"), queued("b"), queued("more", db=True)),
    )
    assert waits(row, past(a=3, b=1)) == {"a": 0, "b": 3 * MIN, "more": None}


def test_what_is_not_known_makes_what_waits_for_it_unknown() -> None:
    row = backend_row(max_workers=1, slots=(slot("a"),), queue=(queued("b"), queued("c")))
    assert waits(row, Durations([])) == {"b": None, "c": None}
    overdue = row.model_copy(update={"slots": (slot("a", elapsed=60 * MIN),)})
    assert waits(overdue, past(a=10)) == {"b": None, "c": None}


def test_a_heavy_job_waits_until_enough_is_free_and_one_too_heavy_holds_nobody_up() -> None:
    row = backend_row(
        max_workers=3,
        slots=(slot("a"), slot("b"), slot("c")),
        queue=(queued("heavy", 2.0), queued("never", 9.0), queued("d")),
    )
    durations = past(a=1, b=2, c=30, heavy=5, never=5, d=5)
    assert waits(row, durations) == {"heavy": 2 * MIN, "never": None, "d": 7 * MIN}


@pytest.mark.parametrize(
    ("values", "known"),
    [
        ({"hold_up": HoldUp.PAUSED, "paused": True}, {}),
        ({"hold_up": HoldUp.NO_AGENT}, {}),
        ({"maintenance": True, "maintenance_type": MaintenanceType.MANUAL}, {"plain": 0}),
    ],
)
def test_nothing_is_promised_while_something_holds_jobs_up(
    values: dict[str, Any], known: dict[str, Any]
) -> None:
    row = backend_row(queue=(queued("plain"), queued("data", db=True)), **values)
    assert waits(row, past(plain=1)) == {"plain": None, "data": None, **known}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "unknown"),
        (5, "under a minute"),
        (130, "about 2 min"),
        (20 * MIN, "about 20 min"),
        (52 * MIN, "about 50 min"),
        (170 * MIN, "about 3 h"),
        (72 * 60 * MIN, "about 3 days"),
    ],
)
def test_estimates_are_as_coarse_as_they_are_uncertain(seconds: float | None, words: str) -> None:
    assert wait_words(seconds) == words
