"""The periodic checks of a backend's database: their schedules, and what their answers do."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio import activity
from temporalio.client import (
    ScheduleActionExecutionStartWorkflow,
    ScheduleDescription,
    ScheduleHandle,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Worker

from rap import ids
from rap.contracts import activities as contracts
from rap.contracts.workflows import CONFIGURE, DATABASE_MAINTENANCE
from rap.egress import DatabaseStatus, DatabaseStatusAnswer, DataCheckAnswer, DataCheckStatus, Fault
from rap.ids import CheckKind
from rap.messages.backends import BackendLimits
from rap.messages.checks import DatabaseStatusOrder, DataCheckOrder
from rap.messages.orders import Switch
from rap.models import ImageAnswer
from rap.rows import MaintenanceType
from rap.settings import ControllerSettings
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action
from worker_controller.schedules import ensure_schedules
from workflows import calls

pytestmark = pytest.mark.workflows

STATUS, DATA = CheckKind.STATUS, CheckKind.DATA
IN_MAINTENANCE = DatabaseStatusAnswer(status=DatabaseStatus.MAINTENANCE)
AVAILABLE = DatabaseStatusAnswer(status=DatabaseStatus.AVAILABLE)
REACHED = DataCheckAnswer(status=DataCheckStatus.OK)
IMAGE = "ghcr.io/opensafely-core/tpp-database-utils:latest"


@dataclass
class StubDatabase:
    """What an agent answers about its database, as the test wants it; held while it says so."""

    status: DatabaseStatusAnswer = AVAILABLE
    data: DataCheckAnswer = REACHED
    held: bool = False
    asked: list[DatabaseStatusOrder | DataCheckOrder] = field(default_factory=list)

    @activity.defn(name=contracts.DATABASE_STATUS.name)
    async def database_status(self, order: DatabaseStatusOrder) -> DatabaseStatusAnswer:
        await self._take(order)
        return self.status

    @activity.defn(name=contracts.DATABASE_DATA_CHECK.name)
    async def database_data_check(self, order: DataCheckOrder) -> DataCheckAnswer:
        await self._take(order)
        return self.data

    async def _take(self, order: DatabaseStatusOrder | DataCheckOrder) -> None:
        self.asked.append(order)
        while self.held:
            activity.heartbeat()
            await asyncio.sleep(0.05)


class Checks:
    """The schedules of one backend."""

    def __init__(self, system: RapSystem) -> None:
        self.system = system

    def settings(self, **changes: Any) -> ControllerSettings:
        slug = self.system.slug
        given = {
            "backends": (slug,),
            "maintenance_enabled_backends": (slug,),
            "data_check_enabled_backends": (),
            "docker_registry_api": "none",
            **changes,
        }
        return ControllerSettings(**given)

    async def ensure(self, **changes: Any) -> None:
        await ensure_schedules(self.system.client, self.settings(**changes))

    def handle(self, kind: CheckKind = STATUS) -> ScheduleHandle:
        return self.system.client.get_schedule_handle(ids.check_id(kind, self.system.slug))

    async def describe(self, kind: CheckKind = STATUS) -> ScheduleDescription:
        return await self.handle(kind).describe()

    async def exists(self, kind: CheckKind) -> bool:
        try:
            await self.describe(kind)
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    async def started(self, number: int, kind: CheckKind = STATUS) -> list[WorkflowHandle]:
        """Wait until the schedule has started so many checks."""

        async def enough() -> list[WorkflowHandle]:
            found = (await self.describe(kind)).info.recent_actions
            if len(found) < number:
                return []
            return [
                self.system.client.get_workflow_handle(
                    one.action.workflow_id, run_id=one.action.first_execution_run_id
                )
                for one in found
                if isinstance(one.action, ScheduleActionExecutionStartWorkflow)
            ]

        return await until(enough)

    async def paused(self, kind: CheckKind, *, on: bool) -> ScheduleDescription:
        """Wait until a schedule is paused, or is not."""

        async def is_so() -> ScheduleDescription | None:
            found = await self.describe(kind)
            return found if found.schedule.state.paused is on else None

        return await until(is_so)


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(60):
        while not (answer := await ask()):
            await asyncio.sleep(0.05)
        return answer


@pytest_asyncio.fixture
async def checks(system: RapSystem) -> AsyncIterator[Checks]:
    made = Checks(system)
    yield made
    for kind in CheckKind:
        if await made.exists(kind):
            await made.handle(kind).delete()


@asynccontextmanager
async def database(system: RapSystem, **script: Any) -> AsyncIterator[StubDatabase]:
    """An agent that answers for its database."""
    stub = StubDatabase(**script)
    worker = Worker(
        system.client,
        task_queue=ids.agent_queue(system.slug),
        activities=[stub.database_status, stub.database_data_check],
        max_heartbeat_throttle_interval=timedelta(seconds=0.1),
    )
    async with worker:
        yield stub


@pytest.mark.spec("controller:162", "controller:157", "controller:160")
async def test_a_check_that_finds_maintenance_requeues_database_jobs_until_one_finds_none(
    system: RapSystem, checks: Checks
) -> None:
    url = system.project(action("data", db=True), action("plain"))
    await system.start_backend()
    async with system.host(held={"data", "plain"}) as host, database(system) as answers:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("data")
        await host.has_started("plain")
        answers.status = IN_MAINTENANCE
        await checks.ensure()
        jobs = await system.reaches(request, data=StatusCode.WAITING_DB_MAINTENANCE)
        assert jobs["data"].started_at is None
        assert host.terminated == [ids.task_id(jobs["data"].id, 1)]
        assert (await system.backend()).maintenance_type is MaintenanceType.SCHEDULED
        host.release("data")
        host.release("plain")
        await system.reaches(request, plain=StatusCode.SUCCEEDED)
        answers.status = AVAILABLE
        await checks.handle().trigger()
        await system.reaches(request, data=StatusCode.SUCCEEDED)
        await system.has_ended(request)
    assert len(host.runs_of("data")) == 2
    assert len(host.runs_of("plain")) == 1
    for check, answer in zip(await checks.started(2), (IN_MAINTENANCE, AVAILABLE), strict=True):
        assert DatabaseStatusAnswer.model_validate(await check.result()) == answer


@pytest.mark.spec("controller:164")
@pytest.mark.parametrize("maintenance", [True, False])
async def test_a_check_that_fails_changes_nothing_and_says_why(
    system: RapSystem, checks: Checks, maintenance: bool
) -> None:
    await system.start_backend()
    async with database(system, status=IN_MAINTENANCE if maintenance else AVAILABLE) as answers:
        await checks.ensure()
        (first,) = await checks.started(1)
        await first.result()
        answers.status = DatabaseStatusAnswer(fault=Fault.CHECK_ANSWER_REFUSED)
        await checks.handle().trigger()
        (_, second) = await checks.started(2)
        with pytest.raises(WorkflowFailureError) as failed:
            await second.result()
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.message == "The answer of the database check is none of the allowed ones."
    assert cause.type == "check_answer_refused"
    row = await system.backend_when(lambda row: row.maintenance is maintenance)
    assert row.maintenance is maintenance


async def test_without_an_agent_the_check_is_given_up_and_says_so(
    system: RapSystem, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "AGENT_WAIT", timedelta(seconds=1))
    await checks.ensure()
    (check,) = await checks.started(1)
    with pytest.raises(WorkflowFailureError) as failed:
        await check.result()
    assert str(failed.value.cause) == (
        f"NoAgent: No agent of backend {system.slug} took the check within 1 s; is one running?"
    )


@pytest.mark.spec("controller:163", "controller:167")
async def test_manual_maintenance_goes_on_whatever_the_checks_find(
    system: RapSystem, checks: Checks
) -> None:
    await system.start_backend()
    await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True))
    async with database(system):
        await checks.ensure()
        (check,) = await checks.started(1)
        # Manual maintenance alone leaves the check running.
        assert (await check.result())["status"] == ""
    assert (await system.backend()).maintenance_type is MaintenanceType.MANUAL


@pytest.mark.spec("controller:167", "controller:174")
async def test_checks_that_are_disabled_pause_until_they_are_wanted_again(
    system: RapSystem, checks: Checks
) -> None:
    await system.start_backend()
    async with database(system, held=True) as answers:
        await checks.ensure(maintenance_poll_interval=1.0)
        (running, *_) = await checks.started(1)
        await until(lambda: asyncio.sleep(0, bool(answers.asked)))
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True, disable_checks=True))
        found = await checks.paused(STATUS, on=True)
        assert found.schedule.state.note == (
            "database maintenance was switched on by hand, with checks disabled"
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await running.result()
        assert isinstance(failed.value.cause, CancelledError)
        assert (await system.backend()).checks_disabled
        answers.held = False
        answers.asked.clear()
        # Switched on again without the option: checks go on, at once.
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True))
        await checks.paused(STATUS, on=False)
        await until(lambda: asyncio.sleep(0, bool(answers.asked)))
        assert not (await system.backend()).checks_disabled
        assert (await system.backend()).maintenance_type is MaintenanceType.MANUAL


@pytest.mark.spec("controller:169")
async def test_the_data_check_pauses_during_maintenance(system: RapSystem, checks: Checks) -> None:
    await system.start_backend()
    async with database(system) as answers:
        await checks.ensure(data_check_enabled_backends=(system.slug,))
        (check,) = await checks.started(1, DATA)
        assert (await check.result())["status"] == "OK"
        (order,) = (one for one in answers.asked if isinstance(one, DataCheckOrder))
        assert order.hes_expected_activity_month == "202304"
        assert order.image == IMAGE
        answers.held = True
        await checks.handle(DATA).trigger()
        (_, running) = await checks.started(2, DATA)
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True))
        await checks.paused(DATA, on=True)
        with pytest.raises(WorkflowFailureError) as failed:
            await running.result()
        assert isinstance(failed.value.cause, CancelledError)
        assert not (await checks.describe(STATUS)).schedule.state.paused
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=False))
        await checks.paused(DATA, on=False)
        # Made less than a day ago: the next one is not due yet.
        assert len((await checks.describe(DATA)).info.recent_actions) == 2


async def test_a_schedule_made_anew_during_maintenance_is_paused_when_the_controller_starts(
    system: RapSystem, checks: Checks
) -> None:
    limits = BackendLimits(max_workers=1, max_db_workers=1)
    await system.start_backend()
    async with database(system):
        await checks.ensure(data_check_enabled_backends=(system.slug,))
        await checks.started(1, DATA)
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True))
        await checks.paused(DATA, on=True)
        await checks.ensure()
        assert not await checks.exists(DATA)
        await checks.ensure(data_check_enabled_backends=(system.slug,))
        await checks.paused(DATA, on=False)
        # What the controller worker does next when it starts.
        await system.tell_backend(CONFIGURE, limits)
        await checks.paused(DATA, on=True)


async def test_a_schedule_that_a_person_paused_stays_paused(
    system: RapSystem, checks: Checks
) -> None:
    await system.start_backend()
    async with database(system):
        await checks.ensure(data_check_enabled_backends=(system.slug,))
        await checks.handle(DATA).pause(note="by hand")
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True, disable_checks=True))
        await checks.paused(STATUS, on=True)
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=False))
        await checks.paused(STATUS, on=False)
        await checks.ensure(data_check_enabled_backends=(system.slug,))
        state = (await checks.describe(DATA)).schedule.state
    assert (state.paused, state.note) == (True, "by hand")


@pytest.mark.spec("controller:166")
async def test_a_check_under_way_lets_the_next_one_fall_out(
    system: RapSystem, checks: Checks
) -> None:
    async with database(system, held=True) as answers:
        await checks.ensure()
        (running,) = await checks.started(1)
        await until(lambda: asyncio.sleep(0, bool(answers.asked)))
        await checks.handle().trigger()

        async def skipped() -> int:
            return (await checks.describe()).info.num_actions_skipped_overlap

        assert await until(skipped) == 1
        assert len(answers.asked) == 1
        answers.held = False
        await system.start_backend()
        await running.result()


@pytest.mark.spec("controller:165", "controller:168")
async def test_the_schedules_are_those_of_the_settings_however_often_these_change(
    system: RapSystem, checks: Checks
) -> None:
    slug = system.slug
    async with database(system):
        await system.start_backend()
        await checks.ensure(data_check_enabled_backends=(slug,))
        await checks.ensure(data_check_enabled_backends=(slug,))
        for kind, seconds in ((STATUS, 300), (DATA, 86400)):
            (check,) = await checks.started(1, kind)
            summary = await (await check.describe()).static_summary()
            assert (summary or "").startswith(f"{kind} of {slug}: ")
            found = (await checks.describe(kind)).schedule
            (interval,) = found.spec.intervals
            assert interval.every == timedelta(seconds=seconds)
            assert found.policy.catchup_window == timedelta(minutes=1)
        await checks.ensure(
            data_check_enabled_backends=(slug,),
            maintenance_enabled_backends=(),
            data_check_poll_interval=3600.0,
            data_check_hes_expected_activity_month="202405",
        )
        assert not await checks.exists(STATUS)
        found = (await checks.describe(DATA)).schedule
        (interval,) = found.spec.intervals
        assert interval.every == timedelta(hours=1)
        await checks.ensure(maintenance_enabled_backends=())
        assert not await checks.exists(DATA)


@pytest.mark.spec("controller:165")
async def test_a_check_runs_the_image_that_its_tag_stands_for_at_that_moment(
    system: RapSystem, checks: Checks
) -> None:
    digest = "sha256:" + "5" * 64
    registry = f"registry-{system.slug}.example"
    image = f"{registry}/tpp-database-utils:latest"
    pinned = {"docker_registry_api": "", "docker_registry": registry}
    await system.start_backend()
    async with database(system) as answers:
        # The registry does not answer.
        await checks.ensure(**pinned)
        (first,) = await checks.started(1)
        with pytest.raises(WorkflowFailureError) as failed:
            await first.result()
        assert f"The image registry gave no digest of {image}" in str(failed.value.cause)
        system.projects.images[image] = ImageAnswer()
        await checks.handle().trigger()
        (_, second) = await checks.started(2)
        with pytest.raises(WorkflowFailureError) as failed:
            await second.result()
        assert f"The image registry has no {image}" in str(failed.value.cause)
        system.projects.images[image] = ImageAnswer(digest=digest)
        await checks.handle().trigger()
        await (await checks.started(3))[-1].result()
    (order,) = answers.asked
    assert order == DatabaseStatusOrder(image=image, image_sha=digest, database_name="default")


async def test_an_error_that_nobody_foresaw_is_told_without_its_text(
    system: RapSystem, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(order: object) -> None:
        raise RuntimeError("patient-4711")

    async with database(system) as answers:
        monkeypatch.setattr(answers, "_take", fail)
        await checks.ensure()
        (check,) = await checks.started(1)
        with pytest.raises(WorkflowFailureError) as failed:
            await check.result()
    assert str(failed.value.cause) == (
        "Unforeseen: The check failed for a reason that only the agent's log tells"
    )


async def test_the_time_of_a_check_is_in_its_id(system: RapSystem, checks: Checks) -> None:
    before = datetime.now(UTC).strftime("%Y-%m-%d")
    async with database(system):
        await system.start_backend()
        await checks.ensure()
        (check,) = await checks.started(1)
        await check.result()
    after = datetime.now(UTC).strftime("%Y-%m-%d")
    assert check.id.startswith(
        (f"dbstatus/{system.slug}-{before}", f"dbstatus/{system.slug}-{after}")
    )
