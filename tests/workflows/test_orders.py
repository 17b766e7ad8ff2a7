"""What operators order of a backend while it works: limits, priorities, weights."""

from functools import partial
from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from rap.contracts.workflows import CONFIGURE, LIMITS, PAUSE, PRIORITISE, WINDOW
from rap.messages.backends import BackendLimits
from rap.messages.orders import LimitsOrder, PriorityOrder, Switch
from rap.models import WeightRule, Weights
from rap.rows import BackendRow, OrderKind
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED


async def test_ordered_limits_take_effect_at_once_and_outlast_the_configured_ones(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    await system.start_backend(workers=0)
    async with system.host():
        request = system.request(url, "a")
        await system.create(request)
        await system.reaches(request, a=StatusCode.WAITING_ON_WORKERS)
        await system.tell_backend(LIMITS, LimitsOrder(max_workers=1, by="ada", why="new memory"))
        await system.reaches(request, a=SUCCEEDED)
    await system.tell_backend(CONFIGURE, BackendLimits(max_workers=0, max_db_workers=3))
    row = await system.backend_when(lambda row: row.max_db_workers == 3)
    assert (row.max_workers, row.limits_ordered) == (1, True)
    (order,) = row.orders
    assert (order.kind, order.detail, order.by) == (OrderKind.LIMITS, "workers 1", "ada")
    await system.tell_backend(LIMITS, LimitsOrder(by="ada"))
    row = await system.backend_when(lambda row: not row.limits_ordered)
    assert row.max_workers == 0


def _knows(number: int, row: BackendRow) -> bool:
    return len(row.slots) + len(row.queue) == number


async def test_an_urgent_rap_overtakes_those_that_wait(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend(workers=1)
    async with system.host(held={"a"}) as host:
        requests = [system.request(url, "a", workspace=f"w{number}") for number in range(3)]
        for made, request in enumerate(requests, 1):
            await system.create(request)
            await system.backend_when(partial(_knows, made))
        urgent = requests[-1]
        await system.tell_backend(
            PRIORITISE, PriorityOrder(rap_id=urgent.rap_id, priority=1, by="ada", why="audit")
        )
        row = await system.backend_when(lambda row: bool(row.priorities))
        assert row.queue[0].rap_id == urgent.rap_id
        host.release("a")
        for request in requests:
            await system.has_ended(request)
    assert [one.rap_id for one in host.started][1] == urgent.rap_id


@pytest.mark.parametrize("field", [0, 6, "high"])
async def test_a_priority_that_makes_no_sense_is_dropped_and_harms_nothing(
    system: RapSystem, field: Any
) -> None:
    await system.start_backend()
    handle = system.client.get_workflow_handle(f"backend/{system.slug}")
    await handle.signal(PRIORITISE.name, {"rap_id": "r", "priority": field})
    await system.tell_backend(PRIORITISE, PriorityOrder(rap_id="r", priority=2))
    row = await system.backend_when(lambda row: bool(row.orders))
    assert row.priorities == {"r": 2}
    assert len(row.orders) == 1


@pytest.mark.parametrize(
    ("signal", "order"),
    [
        (LIMITS, '{"max_workers": 1e999}'),
        (WINDOW, '{"name": "n", "kind": "pause", "opens": true, "seconds": 1e300}'),
        (WINDOW, '{"name": "n", "kind": "pause", "opens": true, "seconds": 1e999}'),
    ],
)
async def test_a_number_that_nobody_could_mean_is_dropped_and_harms_nothing(
    system: RapSystem, signal: Any, order: str
) -> None:
    await system.start_backend()
    handle = system.client.get_workflow_handle(f"backend/{system.slug}")
    payload = Payload(metadata={"encoding": b"json/plain"}, data=order.encode())
    await handle.signal(signal.name, RawValue(payload))
    await system.tell_backend(PAUSE, Switch(on=True, by="ada"))
    await system.tell_backend(PAUSE, Switch(on=False, by="ada"))
    row = await system.backend_when(lambda row: len(row.orders) > 1 and not row.paused)
    assert {each.kind for each in row.orders} == {OrderKind.PAUSE, OrderKind.UNPAUSE}


@pytest.mark.spec("controller:90")
async def test_a_job_takes_its_weight_and_new_weights_reach_the_jobs_that_wait(
    system: RapSystem,
) -> None:
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


async def test_new_weights_reach_every_rap_when_the_backend_continues_as_new_between_them(
    system: RapSystem,
) -> None:
    url = system.project(action("heavy"))
    await system.start_backend(workers=0, look_round_s=0.3, longest_history=30)
    requests = [system.request(url, "heavy", workspace=f"ws{n}") for n in range(12)]
    for request in requests:
        await system.create(request)
    await system.backend_when(lambda row: len(row.queue) == len(requests))
    rules = {request.workspace: (WeightRule(pattern="heavy", weight=2.5),) for request in requests}
    system.projects.weights[system.slug] = Weights(workspaces=rules)
    await system.backend_when(lambda row: {entry.weight for entry in row.queue} == {2.5})
    for request in requests:
        await system.cancel(request, "heavy")
        await system.has_ended(request)
