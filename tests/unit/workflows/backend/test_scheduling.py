"""Who gets the next slot: docs/spec/controller.md 9."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap.egress import AgentReport, Fault
from rap.messages.backends import BackendLimits
from rap.messages.slots import Reservation, SlotRequest
from workflows.backend.hosts import Hosts
from workflows.backend.queue import WaitingJobs
from workflows.backend.scheduling import PATIENCE, Schedule, queue_order, schedule

pytestmark = pytest.mark.unit


def job(
    job_id: str,
    workspace: str = "w",
    *,
    created_at: int = 0,
    requires_db: bool = False,
    weight: float = 1.0,
    host: str | None = None,
    position: int = 0,
    image: str = "",
) -> Reservation:
    return Reservation(
        rap_id="r",
        request=SlotRequest(
            job_id=job_id,
            workspace=workspace,
            requires_db=requires_db,
            weight=weight,
            created_at=created_at,
            position=position,
            attempt=1,
            image=image,
        ),
        since=float(created_at),
        host=host,
    )


def decide(
    running: list[Any],
    waiting: list[Any],
    workers: float = 10.0,
    db: float = 10.0,
    room: dict[str, Any] | None = None,
    reports: dict[str, AgentReport] | None = None,
    paused: bool = False,
    maintenance: bool = False,
) -> tuple[Any, ...]:
    queue = WaitingJobs(waiting)
    plan = schedule(
        running,
        queue,
        limits=BackendLimits(max_workers=workers, max_db_workers=db),
        hosts=Hosts({"h": 1000} if room is None else room, reports),
        paused=paused,
        maintenance=maintenance,
    )
    started = [queue.pop(grant.job_id) for grant in plan.grants]
    left = [one.request.job_id for one in queue_order([*running, *started], queue)]
    return grants_of(plan), left


def grants_of(plan: Schedule) -> list[str]:
    return [grant.job_id for grant in plan.grants]


@pytest.mark.spec("controller:92")
def test_worked_example_of_the_specification() -> None:
    waiting = [
        *(job(f"a{n}", "w1", created_at=100 + n) for n in range(3)),
        *(job(f"b{n}", "w2", created_at=200 + n) for n in range(3)),
        job("c", "w3", created_at=300, requires_db=True),
    ]
    assert decide([], waiting, workers=3, db=3) == (["c", "a0", "b0", "a1"], ["b1", "b2", "a2"])


@pytest.mark.spec("controller:83", "controller:84")
def test_limit_of_zero_starts_nothing() -> None:
    waiting = [job("a"), job("d", requires_db=True)]
    assert decide([], waiting, workers=0, db=0) == ([], ["d", "a"])


@pytest.mark.spec("controller:85")
def test_a_full_pool_blocks_only_its_own_kind() -> None:
    waiting = [job("a"), job("d", requires_db=True)]
    assert decide([], waiting, workers=0, db=1) == (["d"], ["a"])
    assert decide([], waiting, workers=1, db=0) == (["a"], ["d"])


@pytest.mark.spec("controller:87")
def test_weights_add_up_and_a_light_job_waits_behind_a_heavy_one() -> None:
    waiting = [job("a", weight=1.5), job("b", weight=1.5, created_at=1), job("c", created_at=2)]
    assert decide([], waiting, workers=2) == (["a"], ["b", "c"])


@pytest.mark.spec("controller:88")
def test_the_limit_itself_may_be_reached() -> None:
    waiting = [
        job("a", requires_db=True, weight=2),
        job("b", requires_db=True, weight=2, created_at=1),
        job("c", requires_db=True, created_at=2),
    ]
    assert decide([], waiting, db=3) == (["a", "c"], ["b"])


@pytest.mark.spec("controller:89")
def test_a_job_heavier_than_the_limit_never_starts() -> None:
    assert decide([], [job("a", weight=3)], workers=2) == ([], ["a"])


@pytest.mark.spec("controller:93")
def test_among_equals_the_database_job_then_the_older() -> None:
    waiting = [job("new", created_at=2), job("old", created_at=1), job("d", "w", requires_db=True)]
    assert decide([], waiting)[0] == ["d", "old", "new"]


@pytest.mark.spec("controller:149", "controller:151")
def test_a_paused_backend_starts_nothing() -> None:
    assert decide([job("r", host="h")], [job("a")], paused=True) == ([], ["a"])


@pytest.mark.spec("controller:156")
def test_maintenance_holds_database_jobs_only() -> None:
    waiting = [job("a"), job("d", requires_db=True)]
    assert decide([], waiting, maintenance=True) == (["a"], ["d"])


def test_nothing_starts_without_a_living_agent() -> None:
    assert decide([], [job("a")], room={}) == ([], ["a"])


def test_jobs_go_to_the_host_with_most_room_and_never_beyond_it() -> None:
    waiting = [job(f"j{n}", created_at=n) for n in range(4)]
    plan = schedule(
        [],
        WaitingJobs(waiting),
        limits=BackendLimits(max_workers=10, max_db_workers=10),
        hosts=Hosts({"small": 1, "big": 2, "full": 0}),
        paused=False,
        maintenance=False,
    )
    assert sorted(grant.host for grant in plan.grants) == ["big", "big", "small"]
    assert grants_of(plan) == ["j0", "j1", "j2"]


# --- hosts in trouble ---

IMAGE = "0123456789ab"


def trouble(**facts: Any) -> AgentReport:
    return AgentReport(backend="b", host="h", at=0.0, **facts)


@pytest.mark.parametrize("fault", [Fault.ENGINE_UNAVAILABLE, Fault.DISK_FULL, Fault.DISK_READ_ONLY])
def test_a_closed_host_takes_no_job_whatever_room_it_has(fault: Fault) -> None:
    waiting = [job("a"), job("d", requires_db=True)]
    room, reports = {"ill": 50, "well": 1}, {"ill": trouble(closed=(fault,))}
    assert decide([], waiting, room={"ill": 50}, reports=reports) == ([], ["d", "a"])
    assert decide([], waiting, room=room, reports=reports) == (["d"], ["a"])


def test_a_host_without_its_database_takes_the_other_jobs() -> None:
    closed = {"h": trouble(closed=(Fault.DATABASE_NETWORK_MISSING,))}
    waiting = [job("d", requires_db=True), job("a")]
    assert decide([], waiting, reports=closed) == (["a"], ["d"])
    room = {"h": 1000, "other": 1}
    assert decide([], waiting, room=room, reports=closed) == (["d", "a"], [])


def test_only_jobs_of_an_image_that_a_host_cannot_get_wait_for_it() -> None:
    missing = {"h": trouble(missing_images=(IMAGE,))}
    waiting = [job("a", image=IMAGE), job("b", image="ba9876543210"), job("c")]
    assert decide([], waiting, reports=missing) == (["b", "c"], ["a"])
    room = {"h": 1000, "other": 1}
    assert decide([], waiting, room=room, reports=missing) == (["a", "b", "c"], [])


def test_no_pool_is_held_for_a_job_whose_image_is_missing() -> None:
    missing = {"h": trouble(missing_images=(IMAGE,))}
    waiting = [job("a", "w1", image=IMAGE), job("b", "w2")]
    plan = schedule(
        [],
        WaitingJobs(waiting),
        limits=BackendLimits(max_workers=1, max_db_workers=1),
        hosts=Hosts({"h": 5}, missing),
        paused=False,
        maintenance=False,
        passed_over={("w1", False): PATIENCE},
    )
    assert grants_of(plan) == ["b"]


def naive(running: list[Any], waiting: list[Any], workers: int, db: int) -> tuple[Any, ...]:
    """The rules of docs/spec/controller.md 9.2 word by word: pick the smallest, count, repeat."""
    counts: dict[str, int] = {}
    used = {True: 0.0, False: 0.0}
    for slot in running:
        counts[slot.request.workspace] = counts.get(slot.request.workspace, 0) + 1
        used[slot.request.requires_db] += slot.request.weight
    left, started, queue = list(waiting), [], []
    while left:
        pick = min(
            left,
            key=lambda one: _rank(one, counts),
        )
        left.remove(pick)
        kind, limit = pick.request.requires_db, db if pick.request.requires_db else workers
        if used[kind] + pick.request.weight <= limit:
            used[kind] += pick.request.weight
            counts[pick.request.workspace] = counts.get(pick.request.workspace, 0) + 1
            started.append(pick.request.job_id)
        else:
            queue.append(pick)
    # What goes on waiting is considered again by the counts as they are now.
    order = []
    while queue:
        pick = min(queue, key=lambda one: _rank(one, counts))
        queue.remove(pick)
        order.append(pick.request.job_id)
    return started, order


def _rank(one: Reservation, counts: dict[str, Any]) -> tuple[float | str, ...]:
    request = one.request
    return (
        counts.get(request.workspace, 0),
        not request.requires_db,
        request.created_at,
        request.position,
        one.since,
        request.job_id,
    )


@st.composite
def jobs(draw: Callable[..., Any], prefix: str, host: str | None = None) -> list[Any]:
    return [
        job(
            f"{prefix}{n}",
            draw(st.sampled_from(["w1", "w2", "w3"])),
            created_at=draw(st.integers(0, 5)),
            requires_db=draw(st.booleans()),
            weight=draw(st.sampled_from([0.5, 1.0, 2.0, 2.5])),
            host=host,
            position=n,
        )
        for n in range(draw(st.integers(0, 12)))
    ]


@given(
    running=jobs("r", host="h"),
    waiting=jobs("q"),
    workers=st.integers(0, 8),
    db=st.integers(0, 8),
)
def test_decides_as_the_rules_read_word_by_word(
    running: list[Any], waiting: list[Any], workers: int, db: int
) -> None:
    assert decide(running, waiting, workers, db) == naive(running, waiting, workers, db)


@given(running=jobs("r", host="h"), waiting=jobs("q"), workers=st.integers(0, 8))
def test_never_grants_above_a_limit_and_loses_no_job(
    running: list[Any], waiting: list[Any], workers: int
) -> None:
    started, queue = decide(running, waiting, workers, db=workers)
    assert sorted([*started, *queue]) == sorted(one.request.job_id for one in waiting)
    for kind in (True, False):
        before = sum(one.request.weight for one in running if one.request.requires_db == kind)
        new = sum(
            one.request.weight
            for one in waiting
            if one.request.job_id in started and one.request.requires_db == kind
        )
        assert not new or before + new <= workers


def with_rap(one: Reservation, rap_id: str) -> Reservation:
    return one.model_copy(update={"rap_id": rap_id})


def plan_for(
    waiting: list[Reservation],
    running: list[Any] | tuple[Any, ...] = (),
    *,
    workers: float = 10.0,
    priorities: dict[str, int] | None = None,
    **more: Any,
) -> Schedule:
    return schedule(
        running,
        WaitingJobs(waiting, priorities or {}),
        limits=BackendLimits(max_workers=workers, max_db_workers=workers),
        hosts=Hosts({"h": 1000}),
        paused=False,
        maintenance=False,
        **more,
    )


def test_a_more_urgent_rap_goes_first_whatever_else_speaks_for_the_others() -> None:
    usual = [job("d", "w1", requires_db=True), job("old", "w2")]
    urgent = [with_rap(job("u", "busy", created_at=9), "urgent")]
    idle = [with_rap(job("i", "w3", created_at=-1, requires_db=True), "background")]
    running = [job(f"r{n}", "busy", host="h") for n in range(3)]
    plan = plan_for(
        [*idle, *usual, *urgent], running, workers=99, priorities={"urgent": 1, "background": 5}
    )
    assert grants_of(plan) == ["u", "d", "old", "i"]


def test_a_workspace_that_was_passed_over_too_often_goes_next_and_only_there() -> None:
    waiting = [job("new", "w2"), job("late", "w1", created_at=5)]
    running = [job("r", "w1", host="h")]
    fair = plan_for(waiting, running, workers=2)
    assert grants_of(fair) == ["new"]
    assert fair.passed_over == {("w1", False): 1}
    due = plan_for(waiting, running, workers=2, passed_over={("w1", False): PATIENCE})
    assert grants_of(due) == ["late"]
    assert due.passed_over == {("w2", False): 1}
    elsewhere = plan_for(waiting, running, workers=2, passed_over={("w1", True): PATIENCE})
    assert grants_of(elsewhere) == ["new"]


def test_a_pool_is_held_for_a_heavy_job_that_was_passed_over_too_often() -> None:
    running = [job("r", "w3", host="h")]
    waiting = [job("heavy", "w1", weight=2), job("light", "w2"), job("d", "w2", requires_db=True)]
    assert grants_of(plan_for(waiting, running, workers=2)) == ["d", "light"]
    tired = {("w1", False): PATIENCE}
    held = plan_for(waiting, running, workers=2, passed_over=tired)
    assert grants_of(held) == ["d"]
    assert held.passed_over == tired
    assert grants_of(plan_for(waiting, workers=2, passed_over=tired)) == ["heavy", "d"]


def test_a_job_that_can_never_fit_holds_no_pool() -> None:
    waiting = [job("heavy", "w1", weight=9), job("light", "w1", created_at=1), job("other", "w2")]
    plan = plan_for(waiting, workers=1, passed_over={("w1", False): 10 * PATIENCE})
    assert grants_of(plan) == ["light"]
    alone = plan_for([waiting[0], waiting[2]], workers=1, passed_over={("w1", False): PATIENCE})
    assert grants_of(alone) == ["other"]


@given(
    jobs=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([0.5, 1.0, 2.0, 4.0]), st.integers(0, 4)),
        min_size=30,
        max_size=120,
    ),
    limit=st.sampled_from([4.0, 6.0]),
)
def test_no_workspace_waits_for_ever_however_many_newcomers_there_are(
    jobs: list[tuple[int, float, int]], limit: float
) -> None:
    patience = 5
    passed_over: dict[tuple[str, bool], int] = {}
    running: list[Reservation] = []
    waiting = [job("first", "patient", weight=4.0)]
    running.extend(job(f"own{n}", "patient", host="h") for n in range(3))
    for step, (ends, weight, other) in enumerate(jobs):
        # Newcomers have nothing running, so the usual order prefers every one of them.
        waiting.append(job(f"n{step}", f"new{step}-{other}", created_at=step, weight=weight))
        if running:
            running.pop(ends % len(running))
        plan = plan_for(waiting, running, workers=limit, passed_over=passed_over, patience=patience)
        passed_over = plan.passed_over
        granted = set(grants_of(plan))
        running += [
            one.model_copy(update={"host": "h"}) for one in waiting if one.request.job_id in granted
        ]
        waiting = [one for one in waiting if one.request.job_id not in granted]
        # At most what one ending frees can be given away at once.
        assert passed_over.get(("patient", False), 0) < patience + 8
