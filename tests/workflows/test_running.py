"""A RAP from its creation to its end."""

import asyncio

import pytest

from rap import ids
from rap.contracts.workflows import DATABASE_MAINTENANCE, PAUSE, PREPARE_FOR_REBOOT, STOP
from rap.egress import Ending, Fault, Interruption, JobOutcome, JobProgress, Stage
from rap.messages.jobs import StopOrder, StopReason
from rap.messages.orders import RebootOrder, Switch
from rap.messages.workspaces import CreateOutcome
from rap.status import StatusCode
from rap.temporal.messages import send_signal
from tests.support.rap_system import RapSystem, action, job_workflow, rap_workflow

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED


@pytest.mark.spec("controller:42", "controller:82", "controller:101", "controller:121")
async def test_a_leaf_brings_its_needs_and_all_run_in_order(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"), action("c", "a"), action("d", "b", "c"))
    await system.start_backend()
    async with system.host() as host:
        request = system.request(url, "d")
        answer = await system.create(request)
        assert (answer.outcome, answer.count) == (CreateOutcome.CREATED, 4)
        jobs = await system.reaches(request, d=SUCCEEDED)
        await system.has_ended(request)
    order = [one.action for one in host.started]
    assert order[0] == "a"
    assert order[-1] == "d"
    assert {job.status_code for job in jobs.values()} == {SUCCEEDED}
    for job in jobs.values():
        assert job.started_at is not None
        assert job.completed_at is not None
        assert job.completed_at >= job.started_at
        assert job.metrics["cpu_mean"] == 1.5
    assert host.started[-1].input_job_ids == (jobs["b"].id, jobs["c"].id)
    row = await system.backend()
    assert (row.slots, row.queue) == ((), ())


@pytest.mark.spec("controller:35", "controller:36", "rap-api:89", "rap-api:94", "rap-api:115")
async def test_all_jobs_are_readable_when_create_answers(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    request = system.request(url, "run_all")
    await system.create(request)
    jobs = system.records.rap(request.rap_id)
    assert [job.action for job in jobs] == ["a", "b"]
    assert {(job.started_at, job.completed_at) for job in jobs} == {(None, None)}
    assert jobs[0].trace_context["traceparent"].startswith("00-")


@pytest.mark.spec("controller:96", "rap-api:98")
async def test_a_job_waits_for_its_dependency(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "b")
        await system.create(request)
        jobs = await system.reaches(request, b=StatusCode.WAITING_ON_DEPENDENCIES)
        assert jobs["b"].status_message == "Waiting on dependencies"
        host.release("a")
        await system.reaches(request, b=SUCCEEDED)


@pytest.mark.spec("controller:97", "controller:100", "rap-api:107")
async def test_a_failure_goes_down_a_chain_and_spares_the_others(system: RapSystem) -> None:
    url = system.project(
        action("a"), action("b", "a"), action("c", "b"), action("d", "c"), action("x")
    )
    await system.start_backend()
    async with system.host(exits={"a": 3}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        jobs = await system.reaches(
            request,
            a=StatusCode.NONZERO_EXIT,
            b=StatusCode.DEPENDENCY_FAILED,
            c=StatusCode.DEPENDENCY_FAILED,
            d=StatusCode.DEPENDENCY_FAILED,
            x=SUCCEEDED,
        )
    assert jobs["d"].status_message == "Not starting as dependency failed"
    assert jobs["d"].started_at is None
    assert jobs["d"].completed_at is not None
    assert sorted(one.action for one in host.started) == ["a", "x"]


@pytest.mark.spec("controller:98")
async def test_one_failed_dependency_is_enough_while_another_runs(system: RapSystem) -> None:
    url = system.project(action("bad"), action("slow"), action("c", "bad", "slow"))
    await system.start_backend()
    async with system.host(exits={"bad": 1}, held={"slow"}) as host:
        request = system.request(url, "c")
        await system.create(request)
        await system.reaches(request, c=StatusCode.DEPENDENCY_FAILED)
        assert system.jobs(request)["slow"].status_code is not SUCCEEDED
        host.release("slow")
        await system.has_ended(request)


@pytest.mark.spec("controller:111", "controller:134")
async def test_a_transient_fault_gets_a_new_task(system: RapSystem) -> None:
    url = system.project(action("a"))
    fault = JobOutcome(task_id="t", ending=Ending.FAILED, fault=Fault.DISK_FULL)
    await system.start_backend()
    async with system.host(outcomes={"a": [fault]}) as host:
        request = system.request(url, "a")
        await system.create(request)
        jobs = await system.reaches(request, a=StatusCode.WAITING_ON_NEW_TASK)
        assert jobs["a"].started_at is None
        jobs = await system.reaches(request, a=SUCCEEDED)
    job = jobs["a"]
    assert host.runs_of("a") == [ids.task_id(job.id, 1), ids.task_id(job.id, 2)]


def interrupted(by: Interruption) -> JobOutcome:
    return JobOutcome(task_id="t", ending=Ending.INTERRUPTED, interruption=by)


async def test_an_interrupted_job_runs_again_and_tells_why_it_waits(system: RapSystem) -> None:
    url = system.project(action("a"), action("held"))
    await system.start_backend(workers=1)
    outcome = interrupted(Interruption.ENGINE_RESTARTED)
    async with system.host(outcomes={"a": [outcome] * 3}, held={"a", "held"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        other = system.request(url, "held")
        await system.create(other)
        host.release("a")
        jobs = await system.reaches(request, a=StatusCode.WAITING_ON_NEW_TASK)
        assert jobs["a"].status_message == (
            "The container engine of the backend was restarted while the job ran. Attempt 1 was "
            "lost through no fault of its own; attempt 2 begins afresh as soon as a worker is "
            "available."
        )
        host.release("held")
        jobs = await system.reaches(request, a=SUCCEEDED)
    assert host.runs_of("a") == [ids.task_id(jobs["a"].id, number) for number in (1, 2, 3, 4)]


async def test_a_job_ends_at_its_fourth_interruption_within_a_day(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    outcome = interrupted(Interruption.HOST_REBOOTED)
    async with system.host(outcomes={"a": [outcome] * 4}) as host:
        request = system.request(url, "a")
        await system.create(request)
        jobs = await system.reaches(request, a=StatusCode.JOB_ERROR)
    assert "It was interrupted 4 times within a day" in jobs["a"].status_message
    assert len(host.runs_of("a")) == 4


async def test_a_permanent_fault_fails_the_job_with_a_sentence(system: RapSystem) -> None:
    url = system.project(action("a"))
    fault = JobOutcome(task_id="t", ending=Ending.FAILED, fault=Fault.IMAGE_UNAVAILABLE)
    await system.start_backend()
    async with system.host(outcomes={"a": [fault]}):
        request = system.request(url, "a")
        await system.create(request)
        jobs = await system.reaches(request, a=StatusCode.JOB_ERROR)
    assert jobs["a"].status_message.startswith("This job returned a fatal error. The image")


@pytest.mark.spec("controller:83", "rap-api:111")
async def test_jobs_wait_for_slots_and_take_them_as_they_come_free(system: RapSystem) -> None:
    url = system.project(*(action(f"a{n}") for n in range(5)))
    await system.start_backend(workers=2)
    async with system.host(held={f"a{n}" for n in range(5)}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a0")
        await host.has_started("a1")
        jobs = await system.reaches(request, a4=StatusCode.WAITING_ON_WORKERS)
        assert jobs["a4"].status_message == "Waiting on available workers"
        row = await system.backend_when(lambda row: len(row.queue) == 3)
        assert [entry.job_id for entry in row.queue] == [jobs[f"a{n}"].id for n in (2, 3, 4)]
        assert len(host.started) == 2
        for n in range(5):
            host.release(f"a{n}")
        await system.has_ended(request)
    assert len(host.started) == 5


@pytest.mark.spec("controller:113", "controller:115", "rap-api:99", "rap-api:100")
async def test_stages_reported_by_the_agent_are_shown(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        started = (await system.reaches(request, a=StatusCode.INITIATED))["a"].started_at
        progress = JobProgress(
            job_id=ids.job_id(request.rap_id, "a"),
            rap_id=request.rap_id,
            attempt=1,
            stage=Stage.EXECUTING,
            since=4e9,
        )
        await system.report(host, jobs=(progress,))
        jobs = await system.reaches(request, a=StatusCode.EXECUTING)
        assert jobs["a"].started_at == started
        assert jobs["a"].status_message == "Job executing on the backend"
        host.release("a")
        await system.has_ended(request)


@pytest.mark.spec("controller:154", "controller:155", "rap-api:108")
async def test_a_paused_backend_lets_running_jobs_finish_and_starts_none(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "b")
        await system.create(request)
        await host.has_started("a")
        await system.tell_backend(PAUSE, Switch(on=True, by="op"))
        host.release("a")
        await system.reaches(request, a=SUCCEEDED, b=StatusCode.WAITING_ON_WORKERS)
        assert (await system.backend()).paused
        assert host.runs_of("b") == []
        await system.tell_backend(PAUSE, Switch(on=False, by="op"))
        await system.reaches(request, b=SUCCEEDED)


@pytest.mark.spec("controller:157", "controller:158", "controller:160", "rap-api:109")
async def test_maintenance_requeues_running_database_jobs_only(system: RapSystem) -> None:
    url = system.project(action("data", db=True), action("plain"))
    await system.start_backend()
    async with system.host(held={"data", "plain"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("data")
        await host.has_started("plain")
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True, by="op"))
        jobs = await system.reaches(request, data=StatusCode.WAITING_DB_MAINTENANCE)
        assert jobs["data"].started_at is None
        assert host.terminated == [ids.task_id(jobs["data"].id, 1)]
        host.release("data")
        host.release("plain")
        await system.reaches(request, plain=SUCCEEDED)
        assert len(host.runs_of("data")) == 1
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=False, by="op"))
        await system.reaches(request, data=SUCCEEDED)
    assert len(host.runs_of("data")) == 2


@pytest.mark.spec("controller:178", "controller:181", "rap-api:110")
async def test_prepare_for_reboot_requeues_running_jobs_until_unpaused(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.tell_backend(PREPARE_FOR_REBOOT, RebootOrder(by="op"))
        await system.reaches(request, a=StatusCode.WAITING_ON_REBOOT)
        host.release("a")
        await system.tell_backend(PAUSE, Switch(on=False, by="op"))
        jobs = await system.reaches(request, a=SUCCEEDED)
    assert host.runs_of("a") == [ids.task_id(jobs["a"].id, 1), ids.task_id(jobs["a"].id, 2)]


async def test_a_job_terminated_in_the_web_ui_is_killed_by_admin_and_cleaned_up(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "b")
        await system.create(request)
        await host.has_started("a")
        job = system.jobs(request)["a"].id
        await system.client.get_workflow_handle(job_workflow(request, "a")).terminate("operator")
        await system.reaches(request, a=StatusCode.KILLED_BY_ADMIN, b=StatusCode.DEPENDENCY_FAILED)
        await system.has_ended(request)
    assert host.discarded == [ids.task_id(job, 1)]
    assert (await system.backend()).slots == ()


async def test_a_job_cancelled_in_the_web_ui_is_killed_by_admin(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        job = system.jobs(request)["a"].id
        await system.client.get_workflow_handle(job_workflow(request, "a")).cancel()
        await system.reaches(request, a=StatusCode.KILLED_BY_ADMIN)
        await system.has_ended(request)
    assert host.terminated == [ids.task_id(job, 1)]


async def test_a_cancel_outranks_a_requeue(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        job = job_workflow(request, "a")
        await asyncio.gather(
            send_signal(system.client, STOP, job, StopOrder(reason=StopReason.REBOOT)),
            system.cancel(request, "a"),
        )
        await system.reaches(request, a=StatusCode.CANCELLED_BY_USER)
        await system.has_ended(request)
    assert len(host.runs_of("a")) == 1


async def test_a_rap_of_ten_jobs_stays_within_its_budget_of_events(system: RapSystem) -> None:
    url = system.project(*(action(f"a{n}") for n in range(10)))
    await system.start_backend(workers=20)
    async with system.host():
        request = system.request(url, "run_all")
        await system.create(request)
        await system.has_ended(request)
    handle = system.client.get_workflow_handle(rap_workflow(request))
    assert len((await handle.fetch_history()).events) <= 200
    handle = system.client.get_workflow_handle(job_workflow(request, "a0"))
    assert len((await handle.fetch_history()).events) <= 15


@pytest.mark.spec("controller:86")
async def test_a_full_backend_does_not_block_another(system: RapSystem) -> None:
    other = RapSystem(system.client, system.records, system.projects, f"{system.slug}x")
    url = system.project(action("a"))
    await system.start_backend(workers=0)
    await other.start_backend(workers=1)
    async with system.host(), other.host():
        blocked, free = system.request(url, "a"), other.request(url, "a")
        await system.create(blocked)
        await other.create(free)
        await other.reaches(free, a=SUCCEEDED)
        assert system.jobs(blocked)["a"].status_code is StatusCode.WAITING_ON_WORKERS


@pytest.mark.spec("controller:139")
async def test_a_job_that_keeps_failing_does_not_change_other_jobs(system: RapSystem) -> None:
    url = system.project(action("bad"), action("good"))
    fault = JobOutcome(task_id="t", ending=Ending.FAILED, fault=Fault.UNEXPECTED)
    await system.start_backend(workers=1)
    async with system.host(outcomes={"bad": [fault] * 5}):
        request = system.request(url, "run_all")
        await system.create(request)
        jobs = await system.reaches(request, good=SUCCEEDED, bad=StatusCode.WAITING_ON_NEW_TASK)
        await system.cancel(request, "bad")
        await system.has_ended(request)
    assert jobs["good"].attempt == 1


@pytest.mark.spec("controller:161")
async def test_pause_and_maintenance_together_hold_a_database_job_until_both_end(
    system: RapSystem,
) -> None:
    url = system.project(action("a", db=True))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.tell_backend(PAUSE, Switch(on=True))
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True))
        await system.reaches(request, a=StatusCode.WAITING_DB_MAINTENANCE)
        host.release("a")
        await system.tell_backend(PAUSE, Switch(on=False))
        await system.backend_when(lambda row: len(row.queue) == 1)
        assert len(host.runs_of("a")) == 1
        await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=False))
        await system.reaches(request, a=SUCCEEDED)
    assert len(host.runs_of("a")) == 2
