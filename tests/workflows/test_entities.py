"""The long lives of workspaces and backends: continuing as new, losing a RAP, coming late."""

import asyncio

import pytest
from temporalio import activity

from rap import ids
from rap.contracts.workflows import (
    CONFIGURE,
    DATABASE_MAINTENANCE,
    DATABASE_MODE,
    HOST_LOST,
    PAUSE,
    RAP_LOST,
    SLOTS,
)
from rap.messages.backends import BackendLimits
from rap.messages.orders import DatabaseMode, LostHost, Switch
from rap.messages.slots import SlotDelta
from rap.messages.workspaces import CreateOutcome, RapLost
from rap.rows import HoldUp, MaintenanceType
from rap.status import StatusCode
from rap.temporal.client import is_running
from rap.temporal.messages import send_signal
from tests.support.rap_system import RapSystem, action, rap_workflow
from worker_controller.worker import make_worker
from workflows.backend.start import STEP_LIMIT

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED


async def test_a_backend_continues_as_new_under_load_without_losing_a_job(
    system: RapSystem,
) -> None:
    url = system.project(*(action(f"a{n}") for n in range(12)))
    await system.start_backend(workers=2, longest_history=60)
    handle = system.client.get_workflow_handle(ids.backend_workflow_id(system.slug))
    first_run = (await handle.describe()).run_id
    async with system.host() as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await system.has_ended(request)
        second = system.request(url, "run_all", workspace="other")
        await system.create(second)
        await system.has_ended(second)
    assert len(host.started) == 24
    assert (await handle.describe()).run_id != first_run
    row = await system.backend()
    assert (row.slots, row.queue, row.max_workers) == ((), (), 2)


async def test_a_step_of_a_backend_may_take_as_long_as_its_task_on_a_busy_machine(
    system: RapSystem,
) -> None:
    guarded = make_worker(system.client, [activity_of_nobody], version="test")._workflow_worker
    assert guarded._deadlock_timeout_seconds == STEP_LIMIT.total_seconds()
    await system.start_backend()
    backend = system.client.get_workflow_handle(ids.backend_workflow_id(system.slug))
    config = (await backend.describe()).raw_description.execution_config
    assert config.default_workflow_task_timeout.ToTimedelta() == STEP_LIMIT


@activity.defn
async def activity_of_nobody() -> None: ...


async def test_a_terminated_rap_frees_its_slots_and_its_workspace(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"), action("c"))
    await system.start_backend(workers=1, look_round_s=0.5)
    async with system.host(held={"a"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        rap = system.client.get_workflow_handle(rap_workflow(request))
        await rap.terminate("operator")
        # The backend notices on its next look round.
        await system.reaches(
            request,
            a=StatusCode.KILLED_BY_ADMIN,
            b=StatusCode.KILLED_BY_ADMIN,
            c=StatusCode.KILLED_BY_ADMIN,
        )
        host.release("a")
        again = system.request(url, "b")
        assert (await system.create(again)).outcome is CreateOutcome.CREATED
        await system.reaches(again, b=SUCCEEDED)
        await system.has_ended(again)
    row = await system.backend()
    assert (row.slots, row.queue) == ((), ())


async def test_a_lost_hosts_jobs_run_again_elsewhere(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as first:
        request = system.request(url, "a")
        await system.create(request)
        await first.has_started("a")
    async with system.host(name="h2") as second:
        await system.tell_backend(HOST_LOST, LostHost(host="h1", by="op"))
        await system.reaches(request, a=SUCCEEDED)
        await system.has_ended(request)
    assert len(second.runs_of("a")) == 1


@pytest.mark.spec("controller:162", "controller:163", "rap-api:56", "rap-api:57", "rap-api:59")
async def test_a_manual_maintenance_outranks_what_the_check_finds(system: RapSystem) -> None:
    await system.start_backend()
    await system.tell_backend(DATABASE_MODE, DatabaseMode(maintenance=True))
    row = await system.backend()
    assert row.maintenance_type is MaintenanceType.SCHEDULED
    since = row.maintenance_since
    await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True))
    row = await system.backend()
    assert (row.maintenance_type, row.maintenance_since) == (MaintenanceType.MANUAL, since)
    await system.tell_backend(DATABASE_MODE, DatabaseMode(maintenance=False))
    assert (await system.backend()).maintenance
    await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=False))
    row = await system.backend()
    assert (row.maintenance, row.maintenance_type) == (False, None)
    assert row.maintenance_since is not None


@pytest.mark.spec("controller:171", "rap-api:53", "rap-api:54", "rap-api:55")
async def test_setting_a_switch_again_does_not_move_its_time(system: RapSystem) -> None:
    await system.start_backend()
    await system.tell_backend(PAUSE, Switch(on=True))
    first = await system.backend()
    await system.tell_backend(PAUSE, Switch(on=True))
    assert (await system.backend()).paused_since == first.paused_since
    await system.tell_backend(PAUSE, Switch(on=False))
    last = await system.backend()
    assert not last.paused
    assert last.paused_since > first.paused_since


async def test_jobs_wait_for_an_agent_and_start_when_one_reports(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    request = system.request(url, "a")
    await system.create(request)
    await system.reaches(request, a=StatusCode.WAITING_ON_WORKERS)
    row = await system.backend_when(lambda row: bool(row.queue))
    assert row.hold_up is HoldUp.NO_AGENT
    async with system.host():
        await system.reaches(request, a=SUCCEEDED)
    assert (await system.backend()).hold_up is HoldUp.NONE


async def test_new_limits_take_effect_at_once(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend(workers=0)
    async with system.host():
        request = system.request(url, "a")
        await system.create(request)
        await system.reaches(request, a=StatusCode.WAITING_ON_WORKERS)
        await system.tell_backend(CONFIGURE, BackendLimits(max_workers=1, max_db_workers=1))
        await system.reaches(request, a=SUCCEEDED)


async def test_repeated_and_stray_messages_change_nothing(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.tell_backend(SLOTS, SlotDelta(rap_id="stray", releases=("stray",)))
        stray = system.request(url, "a").rap_id
        workspace = ids.workspace_workflow_id(system.slug, "ws")
        await send_signal(system.client, RAP_LOST, workspace, RapLost(rap_id=stray))
        host.release("a")
        await system.has_ended(request)
        await send_signal(system.client, RAP_LOST, workspace, RapLost(rap_id=request.rap_id))
        assert await is_running(system.client, workspace)
    await asyncio.sleep(0)
    assert system.jobs(request)["a"].status_code is SUCCEEDED


async def test_a_rap_waits_for_a_backend_that_is_not_there_yet(system: RapSystem) -> None:
    url = system.project(action("a"))
    request = system.request(url, "a")
    await system.create(request)
    await system.reaches(request, a=StatusCode.WAITING_ON_WORKERS)
    await system.start_backend()
    async with system.host():
        await system.reaches(request, a=SUCCEEDED)
