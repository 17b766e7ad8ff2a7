"""What operators break by hand in the Web UI mends itself: nothing runs twice, nothing is lost."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.service import RPCError

from rap import ids
from rap.contracts.workflows import ANNOUNCE, HOST_LOST, PAUSE, PREPARE_FOR_REBOOT, SLOTS, WINDOW
from rap.messages.backends import BackendLimits
from rap.messages.orders import LostHost, RebootOrder, Switch, WindowOrder
from rap.messages.slots import Announce, SlotDelta, SlotHold, SlotRequest
from rap.messages.workspaces import CreateOutcome
from rap.rows import OpenWindow
from rap.status import State, StatusCode
from rap.temporal.messages import send_signal
from rap.windows import WindowKind
from tests.support.rap_system import RapSystem, action, job_workflow, rap_workflow
from workflows.backend.start import start_after
from workflows.job import clean_up

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED


async def terminate(system: RapSystem, workflow_id: str) -> None:
    await system.client.get_workflow_handle(workflow_id).terminate("by hand")


async def test_a_terminated_backend_learns_from_its_raps_what_runs_before_it_grants(
    system: RapSystem,
) -> None:
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


async def test_a_backend_that_was_paused_is_paused_when_it_is_started_again(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    await system.tell_backend(PAUSE, Switch(on=True, by="ada", why="disks"))
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
        await system.tell_backend(PAUSE, Switch(on=False))
        await system.reaches(request, a=SUCCEEDED)
    assert len(host.started) == 1


async def test_a_terminated_workspace_is_started_again_and_remembers_its_jobs(
    system: RapSystem,
) -> None:
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


async def eventually_known(system: RapSystem, actions: set[str]) -> Any:
    async with asyncio.timeout(60):
        while True:
            try:
                known = await system.current_jobs("ws")
                if set(known) == actions:
                    return known
            except RPCError:
                pass
            await asyncio.sleep(0.1)


async def test_a_create_for_a_terminated_workspace_runs_nothing_again(system: RapSystem) -> None:
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
) -> None:
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
) -> None:
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
        await system.tell_backend(SLOTS, SlotDelta(rap_id=request.rap_id, holds=held))
        await system.backend_when(lambda row: any(s.job_id == "ghost" for s in row.slots))
        rap = rap_workflow(request)
        await send_signal(system.client, ANNOUNCE, rap, Announce())
        row = await system.backend_when(lambda row: all(s.job_id != "ghost" for s in row.slots))
        assert len(row.slots) == 1
        host.release("a")
        await system.has_ended(request)


@pytest.mark.parametrize("kind", [WindowKind.PAUSE, WindowKind.MAINTENANCE])
async def test_a_backend_lost_during_a_window_undoes_at_its_end_what_it_did(
    system: RapSystem, kind: WindowKind
) -> None:
    await system.start_backend()
    opens = WindowOrder(name="night", kind=kind, opens=True, by="ada")
    await system.tell_backend(WINDOW, opens)
    row = await system.backend_when(lambda row: row.paused or row.maintenance)
    await terminate(system, ids.backend_workflow_id(system.slug))
    limits = BackendLimits(max_workers=10, max_db_workers=10)
    start = start_after(row, slug=system.slug, limits=limits)
    given = start.model_fields_set - {"slug", "limits"}
    await system.start_backend(**{name: getattr(start, name) for name in given})
    row = await system.backend()
    assert row.windows == {"night": OpenWindow(kind=kind)}
    assert (row.paused, row.maintenance) == (
        kind is WindowKind.PAUSE,
        kind is WindowKind.MAINTENANCE,
    )
    await system.tell_backend(WINDOW, opens.model_copy(update={"opens": False}))
    row = await system.backend_when(lambda row: not row.windows)
    assert (row.paused, row.maintenance, row.held_by_window) == (False, False, ())


async def test_a_job_being_stopped_waits_no_longer_once_its_host_is_lost(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as first:
        request = system.request(url, "a")
        await system.create(request)
        await first.has_started("a")
    # The host is away now, so the stop cannot be carried out.
    await system.tell_backend(PREPARE_FOR_REBOOT, RebootOrder(by="ada"))
    job = system.client.get_workflow_handle(job_workflow(request, "a"))
    async with asyncio.timeout(60):
        while "discard_job" not in await awaited_activities(job):
            await asyncio.sleep(0.1)
    await system.tell_backend(HOST_LOST, LostHost(host=first.name, by="ada"))
    await system.reaches(request, a=StatusCode.WAITING_ON_REBOOT)
    await system.backend_when(lambda row: not row.slots)
    async with system.host(name="h2") as second:
        await system.tell_backend(PAUSE, Switch(on=False))
        await system.reaches(request, a=SUCCEEDED)
        await system.has_ended(request)
    assert second.runs_of("a") == [f"{ids.job_id(request.rap_id, 'a')}-002"]
    assert first.discarded == []
    async with first.polling(system.client):
        await system.until(lambda: bool(first.discarded))
    assert first.discarded == first.runs_of("a")


async def test_a_job_terminated_while_its_host_is_away_ends_and_is_cleared_away_later(
    system: RapSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean_up, "AT_ONCE", timedelta(seconds=1))
    url = system.project(action("a"))
    await system.start_backend(workers=1)
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
    await terminate(system, job_workflow(request, "a"))
    await system.reaches(request, a=StatusCode.KILLED_BY_ADMIN)
    await system.has_ended(request)
    await system.backend_when(lambda row: not row.slots)
    assert host.discarded == []
    async with host.polling(system.client):
        await system.until(lambda: bool(host.discarded))
    assert host.discarded == host.runs_of("a")


async def test_a_job_that_came_to_its_end_as_its_rap_was_terminated_keeps_it(
    system: RapSystem,
) -> None:
    url = system.project(action("good"), action("ugly"), action("never", "ugly"))
    await system.start_backend(look_round_s=0.3)
    async with system.host(held={"good", "ugly"}, finishing={"good"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("good")
        await host.has_started("ugly")
        await terminate(system, rap_workflow(request))
        killed = StatusCode.KILLED_BY_ADMIN
        jobs = await system.reaches(request, good=SUCCEEDED, ugly=killed, never=killed)
    assert jobs["good"].metrics["cpu_mean"] == 1.5
    known = await system.current_jobs("ws")
    assert (known["good"].state, known["ugly"].state) == (State.SUCCEEDED, State.FAILED)


async def test_a_rap_that_has_a_lost_host_clear_away_waits_for_it_no_longer(
    system: RapSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean_up, "AT_ONCE", timedelta(hours=1))
    url = system.project(action("a"), action("b"))
    await system.start_backend(workers=2)
    async with system.host(held={"a", "b"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        await host.has_started("b")
    await terminate(system, job_workflow(request, "a"))
    rap = system.client.get_workflow_handle(rap_workflow(request))
    async with asyncio.timeout(60):
        while "discard_job" not in await awaited_activities(rap):
            await asyncio.sleep(0.1)
    await system.tell_backend(HOST_LOST, LostHost(host=host.name, by="ada"))
    # The one that was terminated ends, the other waits for another host.
    killed, waiting = StatusCode.KILLED_BY_ADMIN, StatusCode.WAITING_ON_NEW_TASK
    await system.reaches(request, a=killed, b=waiting)
    await system.backend_when(lambda row: not row.slots)
    async with system.host(name="h2") as second:
        await system.reaches(request, b=SUCCEEDED)
        await system.has_ended(request)
    assert second.runs_of("a") == []
    async with host.polling(system.client):
        await system.until(lambda: len(host.discarded) == 2)
    assert sorted(host.discarded) == sorted([*host.runs_of("a"), *host.runs_of("b")])


async def awaited_activities(job: Any) -> list[str]:
    described = await job.describe()
    return [one.activity_type.name for one in described.raw_description.pending_activities]


async def test_a_rap_terminated_while_it_waits_for_another_is_noticed_when_that_ends(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        first = system.request(url, "a")
        await system.create(first)
        await host.has_started("a")
        second = system.request(url, "b")
        await system.create(second)
        await system.reaches(second, b=StatusCode.WAITING_ON_DEPENDENCIES)
        await terminate(system, rap_workflow(second))
        host.release("a")
        await system.reaches(second, b=StatusCode.KILLED_BY_ADMIN)
        await system.has_ended(first)
        third = system.request(url, "b")
        assert (await system.create(third)).count == 1
        await system.has_ended(third)
    assert [one.action for one in host.started] == ["a", "b"]


async def test_a_rap_terminated_while_it_waits_for_slots_ends_when_it_cannot_take_one(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("b"), action("c", "a"))
    # It is the grant that tells, not a look round.
    await system.start_backend(workers=1, look_round_s=3600.0)
    await system.tell_backend(PAUSE, Switch(on=True))
    async with system.host() as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await system.backend_when(lambda row: len(row.queue) == 2)
        await terminate(system, rap_workflow(request))
        await system.tell_backend(PAUSE, Switch(on=False))
        killed = StatusCode.KILLED_BY_ADMIN
        await system.reaches(request, a=killed, b=killed, c=killed)
        await system.backend_when(lambda row: not row.slots and not row.queue)
    assert host.started == []
