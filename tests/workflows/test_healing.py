"""What operators break by hand in the Web UI mends itself: nothing runs twice, nothing is lost."""

import asyncio

import pytest
from temporalio.service import RPCError

from rap import ids
from rap.messages import (
    BackendLimits,
    CreateOutcome,
    LostHost,
    RebootOrder,
    SlotDelta,
    SlotHold,
    SlotRequest,
    Switch,
    WindowOrder,
)
from rap.rows import WindowKind
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action
from worker_controller.backends import start_after

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED


async def terminate(system: RapSystem, workflow_id: str) -> None:
    await system.client.get_workflow_handle(workflow_id).terminate("by hand")


async def test_a_terminated_backend_learns_from_its_raps_what_runs_before_it_grants(
    system: RapSystem,
):
    url = system.project(action("a"), action("b"), action("c"))
    await system.start_backend(workers=1)
    async with system.host(held={"a", "b", "c"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        before = await system.backend_when(lambda row: len(row.queue) == 2)
        await terminate(system, ids.backend_workflow_id(system.slug))
        await system.start_backend(workers=1, recovering=True)
        await system.report(host)
        row = await system.backend_when(lambda row: bool(row.slots) and len(row.queue) == 2)
        assert [slot.job_id for slot in row.slots] == [slot.job_id for slot in before.slots]
        assert len(host.started) == 1
        for name in ("a", "b", "c"):
            host.release(name)
        await system.has_ended(request)
    assert sorted(one.action for one in host.started) == ["a", "b", "c"]
    row = await system.backend()
    assert (row.slots, row.queue) == ((), ())


async def test_a_backend_that_was_paused_is_paused_when_it_is_started_again(system: RapSystem):
    url = system.project(action("a"))
    await system.start_backend()
    await system.tell_backend("pause", Switch(on=True, by="ada", why="disks"))
    row = await system.backend_when(lambda row: row.paused)
    await terminate(system, ids.backend_workflow_id(system.slug))
    limits = BackendLimits(max_workers=10, max_db_workers=10)
    start = start_after(row, slug=system.slug, limits=limits)
    await system.start_backend(row=start.row, recovering=start.recovering)
    async with system.host() as host:
        request = system.request(url, "a")
        await system.create(request)
        row = await system.backend_when(lambda row: bool(row.queue))
        assert row.paused
        assert [order.why for order in row.orders] == ["disks"]
        await system.tell_backend("pause", Switch(on=False))
        await system.reaches(request, a=SUCCEEDED)
    assert len(host.started) == 1


async def test_a_terminated_workspace_is_started_again_and_remembers_its_jobs(system: RapSystem):
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend(look_round_s=0.3)
    async with system.host(held={"b"}) as host:
        first = system.request(url, "run_all")
        await system.create(first)
        await host.has_started("b")
        workspace = ids.workspace_workflow_id(system.slug, "ws")
        await terminate(system, workspace)
        # Nobody asks for anything: the backend notices by itself.
        again = await eventually_known(system, {"a", "b"})
        assert again["a"].state.value == "succeeded"
        assert again["b"].state.is_active
        waits = system.request(url, "b")
        answer = await system.create(waits)
        assert answer.outcome is CreateOutcome.NOTHING_TO_DO
        repeated = await system.create(first)
        assert repeated.outcome is CreateOutcome.NO_CHANGE
        host.release("b")
        await system.has_ended(first)
    assert len(host.started) == 2


async def eventually_known(system: RapSystem, actions: set[str]):
    async with asyncio.timeout(60):
        while True:
            try:
                known = await system.current_jobs("ws")
                if set(known) == actions:
                    return known
            except RPCError:
                pass
            await asyncio.sleep(0.1)


async def test_a_create_for_a_terminated_workspace_runs_nothing_again(system: RapSystem):
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host() as host:
        first = system.request(url, "a")
        await system.create(first)
        await system.has_ended(first)
        await terminate(system, ids.workspace_workflow_id(system.slug, "ws"))
        second = system.request(url, "b")
        assert (await system.create(second)).count == 1
        await system.has_ended(second)
    assert [one.action for one in host.started] == ["a", "b"]


async def test_a_rap_that_waits_for_another_hears_its_end_through_a_new_workspace(
    system: RapSystem,
):
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend(look_round_s=0.3)
    async with system.host(held={"a"}) as host:
        first = system.request(url, "a")
        await system.create(first)
        second = system.request(url, "b")
        await system.create(second)
        await host.has_started("a")
        await terminate(system, ids.workspace_workflow_id(system.slug, "ws"))
        host.release("a")
        await system.reaches(second, b=SUCCEEDED)
        await system.has_ended(second)
    assert len(host.started) == 2


async def test_a_rap_that_announces_its_jobs_frees_the_slots_that_are_not_among_them(
    system: RapSystem,
):
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend(workers=1, look_round_s=0.3)
    async with system.host(held={"a"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        # A slot that nobody gave back, as after a lost message.
        ghost = SlotRequest(
            job_id="ghost", workspace="ws", requires_db=True, created_at=0, attempt=1
        )
        held = (SlotHold(request=ghost, host=host.name),)
        await system.tell_backend("slots", SlotDelta(rap_id=request.rap_id, holds=held))
        await system.backend_when(lambda row: any(s.job_id == "ghost" for s in row.slots))
        await system.client.get_workflow_handle(ids.rap_workflow_id(request.rap_id)).signal(
            "announce", {}
        )
        row = await system.backend_when(lambda row: all(s.job_id != "ghost" for s in row.slots))
        assert len(row.slots) == 1
        host.release("a")
        await system.has_ended(request)


@pytest.mark.parametrize("kind", [WindowKind.PAUSE, WindowKind.MAINTENANCE])
async def test_a_backend_lost_during_a_window_undoes_at_its_end_what_it_did(
    system: RapSystem, kind: WindowKind
):
    await system.start_backend()
    opens = WindowOrder(name="night", kind=kind, opens=True, by="ada")
    await system.tell_backend("window", opens)
    row = await system.backend_when(lambda row: row.paused or row.maintenance)
    await terminate(system, ids.backend_workflow_id(system.slug))
    limits = BackendLimits(max_workers=10, max_db_workers=10)
    start = start_after(row, slug=system.slug, limits=limits)
    given = start.model_fields_set - {"slug", "limits"}
    await system.start_backend(**{name: getattr(start, name) for name in given})
    row = await system.backend()
    assert row.windows == {"night": kind}
    assert (row.paused, row.maintenance) == (
        kind is WindowKind.PAUSE,
        kind is WindowKind.MAINTENANCE,
    )
    await system.tell_backend("window", opens.model_copy(update={"opens": False}))
    row = await system.backend_when(lambda row: not row.windows)
    assert (row.paused, row.maintenance, row.held_by_window) == (False, False, ())


async def test_a_job_being_stopped_waits_no_longer_once_its_host_is_lost(system: RapSystem):
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as first:
        request = system.request(url, "a")
        await system.create(request)
        await first.has_started("a")
    # The host is away now, so the stop cannot be carried out.
    await system.tell_backend("prepare_for_reboot", RebootOrder(by="ada"))
    job = system.client.get_workflow_handle(ids.job_workflow_id(ids.job_id(request.rap_id, "a")))
    async with asyncio.timeout(60):
        while "discard_job" not in await awaited_activities(job):
            await asyncio.sleep(0.1)
    await system.tell_backend("host_lost", LostHost(host=first.name, by="ada"))
    await system.reaches(request, a=StatusCode.WAITING_ON_REBOOT)
    await system.backend_when(lambda row: not row.slots)
    async with system.host(name="h2") as second:
        await system.tell_backend("pause", Switch(on=False))
        await system.reaches(request, a=SUCCEEDED)
        await system.has_ended(request)
    assert second.runs_of("a") == [f"{ids.job_id(request.rap_id, 'a')}-002"]
    assert first.discarded == []
    async with first.polling(system.client):
        await system.until(lambda: bool(first.discarded))
    assert first.discarded == first.runs_of("a")


async def awaited_activities(job) -> list[str]:
    described = await job.describe()
    return [one.activity_type.name for one in described.raw_description.pending_activities]


async def test_a_rap_terminated_while_it_waits_for_another_is_noticed_when_that_ends(
    system: RapSystem,
):
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        first = system.request(url, "a")
        await system.create(first)
        await host.has_started("a")
        second = system.request(url, "b")
        await system.create(second)
        await system.reaches(second, b=StatusCode.WAITING_ON_DEPENDENCIES)
        await terminate(system, ids.rap_workflow_id(second.rap_id))
        host.release("a")
        await system.reaches(second, b=StatusCode.KILLED_BY_ADMIN)
        await system.has_ended(first)
        third = system.request(url, "b")
        assert (await system.create(third)).count == 1
        await system.has_ended(third)
    assert [one.action for one in host.started] == ["a", "b"]
