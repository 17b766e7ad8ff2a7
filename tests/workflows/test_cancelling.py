"""Cancelling jobs: at once for readers, and nothing goes on behind their backs."""

import pytest

from rap import ids
from rap.contracts.kinds import Signal
from rap.contracts.workflows import DATABASE_MAINTENANCE, PAUSE
from rap.messages.orders import Switch
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action, rap_workflow

pytestmark = pytest.mark.workflows

CANCELLED = StatusCode.CANCELLED_BY_USER
SUCCEEDED = StatusCode.SUCCEEDED


@pytest.mark.spec("controller:140", "controller:145", "rap-api:125")
async def test_a_waiting_job_is_cancelled_and_never_starts(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "b")
        await system.create(request)
        await host.has_started("a")
        await system.cancel(request, "b")
        jobs = await system.reaches(request, b=CANCELLED)
        host.release("a")
        await system.has_ended(request)
    assert jobs["b"].status_message == "Cancelled by user"
    assert jobs["b"].started_at is None
    completed_at = jobs["b"].completed_at
    assert completed_at is not None
    assert jobs["b"].created_at <= completed_at <= jobs["b"].updated_at
    assert host.runs_of("b") == []


async def test_a_job_waiting_for_a_slot_is_cancelled_and_leaves_the_queue(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    await system.start_backend(workers=0)
    async with system.host():
        request = system.request(url, "a")
        await system.create(request)
        await system.reaches(request, a=StatusCode.WAITING_ON_WORKERS)
        await system.cancel(request, "a")
        await system.reaches(request, a=CANCELLED)
        await system.has_ended(request)
    assert (await system.backend()).queue == ()


@pytest.mark.spec("controller:141", "rap-api:126", "rap-api:131")
async def test_a_running_job_is_terminated_and_its_neighbour_goes_on(system: RapSystem) -> None:
    url = system.project(action("a"), action("x"))
    await system.start_backend()
    async with system.host(held={"a", "x"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        await host.has_started("x")
        await system.cancel(request, "a")
        jobs = await system.reaches(request, a=CANCELLED)
        assert jobs["a"].started_at is not None
        host.release("x")
        await system.reaches(request, x=SUCCEEDED)
        await system.has_ended(request)
    assert host.terminated == [ids.task_id(jobs["a"].id, 1)]
    assert (await system.backend()).slots == ()


@pytest.mark.spec("controller:146", "rap-api:128", "rap-api:129")
async def test_a_finished_job_stays_as_it_is_but_runs_again_when_asked_for(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host() as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await system.has_ended(request)
        before = system.jobs(request)["a"]
        await system.cancel(request, "a")
        await system.cancel(request, "a")
        assert system.jobs(request)["a"] == before
        again = system.request(url, "run_all")
        assert (await system.create(again)).count == 1
        await system.has_ended(again)
    assert len(host.runs_of("a")) == 2


@pytest.mark.spec("controller:51", "rap-api:130")
async def test_a_cancelled_action_can_be_created_again_at_once(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend(workers=0)
    first, second = system.request(url, "a"), system.request(url, "a")
    await system.create(first)
    await system.cancel(first, "a")
    assert (await system.create(second)).count == 1


async def test_cancelling_a_rap_in_the_web_ui_cancels_its_jobs(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "b")
        await system.create(request)
        await host.has_started("a")
        rap = system.client.get_workflow_handle(rap_workflow(request))
        await rap.cancel()
        await system.reaches(request, a=CANCELLED, b=CANCELLED)
        await system.has_ended(request)
    assert (await system.backend()).slots == ()


@pytest.mark.spec("controller:143")
@pytest.mark.parametrize("signal", [PAUSE, DATABASE_MAINTENANCE], ids=lambda one: one.name)
async def test_a_held_job_is_cancelled_all_the_same(
    system: RapSystem, signal: Signal[Switch]
) -> None:
    url = system.project(action("a", db=True))
    await system.start_backend()
    await system.tell_backend(signal, Switch(on=True))
    async with system.host():
        request = system.request(url, "a")
        await system.create(request)
        await system.reaches(request, a=StatusCode.WAITING_ON_DB_WORKERS)
        await system.cancel(request, "a")
        await system.reaches(request, a=CANCELLED)
        await system.has_ended(request)


@pytest.mark.spec("controller:144", "controller:147")
async def test_a_job_sent_back_to_waiting_is_cancelled_without_another_stop(
    system: RapSystem,
) -> None:
    url = system.project(action("a", db=True))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True))
        await system.reaches(request, a=StatusCode.WAITING_DB_MAINTENANCE)
        await system.cancel(request, "a")
        await system.reaches(request, a=CANCELLED)
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=False))
        await system.has_ended(request)
    assert len(host.terminated) == 1
    assert len(host.runs_of("a")) == 1
    assert system.jobs(request)["a"].status_code is CANCELLED
