"""What operators order of a backend while it works: limits, priorities, weights."""

import pytest

from rap.messages import BackendLimits, LimitsOrder, PriorityOrder
from rap.models import WeightRule, Weights
from rap.rows import OrderKind
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED


async def test_ordered_limits_take_effect_at_once_and_outlast_the_configured_ones(
    system: RapSystem,
):
    url = system.project(action("a"))
    await system.start_backend(workers=0)
    async with system.host():
        request = system.request(url, "a")
        await system.create(request)
        await system.reaches(request, a=StatusCode.WAITING_ON_WORKERS)
        await system.tell_backend("limits", LimitsOrder(max_workers=1, by="ada", why="new memory"))
        await system.reaches(request, a=SUCCEEDED)
    await system.tell_backend("configure", BackendLimits(max_workers=0, max_db_workers=3))
    row = await system.backend_when(lambda row: row.max_db_workers == 3)
    assert (row.max_workers, row.limits_ordered) == (1, True)
    (order,) = row.orders
    assert (order.kind, order.detail, order.by) == (OrderKind.LIMITS, "workers 1", "ada")
    await system.tell_backend("limits", LimitsOrder(by="ada"))
    row = await system.backend_when(lambda row: not row.limits_ordered)
    assert row.max_workers == 0


async def test_an_urgent_rap_overtakes_those_that_wait(system: RapSystem):
    url = system.project(action("a"))
    await system.start_backend(workers=1)
    async with system.host(held={"a"}) as host:
        requests = [system.request(url, "a", workspace=f"w{number}") for number in range(3)]
        for number, request in enumerate(requests):
            await system.create(request)
            await system.backend_when(
                lambda row, number=number: len(row.slots) + len(row.queue) == number + 1
            )
        urgent = requests[-1]
        await system.tell_backend(
            "prioritise", PriorityOrder(rap_id=urgent.rap_id, priority=1, by="ada", why="audit")
        )
        row = await system.backend_when(lambda row: bool(row.priorities))
        assert row.queue[0].rap_id == urgent.rap_id
        host.release("a")
        for request in requests:
            await system.has_ended(request)
    assert [one.rap_id for one in host.started][1] == urgent.rap_id


@pytest.mark.parametrize("field", [0, 6, "high"])
async def test_a_priority_that_makes_no_sense_is_dropped_and_harms_nothing(
    system: RapSystem, field
):
    await system.start_backend()
    handle = system.client.get_workflow_handle(f"backend/{system.slug}")
    await handle.signal("prioritise", {"rap_id": "r", "priority": field})
    await system.tell_backend("prioritise", PriorityOrder(rap_id="r", priority=2))
    row = await system.backend_when(lambda row: bool(row.orders))
    assert row.priorities == {"r": 2}
    assert len(row.orders) == 1


@pytest.mark.spec("controller:90")
async def test_a_job_takes_its_weight_and_new_weights_reach_the_jobs_that_wait(system: RapSystem):
    url = system.project(action("heavy"), action("light"))
    system.projects.weights[system.slug] = weights = Weights(
        workspaces={"ws": (WeightRule(pattern="heavy", weight=2.5),)}
    )
    await system.start_backend(workers=2, look_round_s=0.3)
    async with system.host() as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await system.reaches(request, light=SUCCEEDED, heavy=StatusCode.WAITING_ON_WORKERS)
        row = await system.backend()
        assert [entry.weight for entry in row.queue] == [2.5]
        lighter = WeightRule(pattern="heavy", weight=2)
        system.projects.weights[system.slug] = weights.model_copy(
            update={"workspaces": {"ws": (lighter,)}}
        )
        await system.reaches(request, heavy=SUCCEEDED)
        await system.has_ended(request)
    assert len(host.started) == 2
