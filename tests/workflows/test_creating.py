"""Creating RAPs: one at a time per workspace, exactly once, or not at all."""

import asyncio
import random

import pytest
from temporalio.client import WorkflowExecutionStatus

from rap import ids
from rap.messages.workspaces import CreateOutcome, SettleRequest
from rap.models import CreateRequest
from rap.rows import Intent, IntentState
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED


@pytest.mark.spec("rap-api:61", "rap-api:62", "rap-api:64")
async def test_concurrent_creates_of_one_rap_make_its_jobs_once(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    request = system.request(url, "b")
    answers = await asyncio.gather(*(system.create(request) for _ in range(100)))
    outcomes = sorted(answer.outcome for answer in answers)
    assert outcomes == [CreateOutcome.CREATED, *[CreateOutcome.NO_CHANGE] * 99]
    assert {answer.count for answer in answers} == {2}
    assert len(system.jobs(request)) == 2


@pytest.mark.spec("rap-api:63")
async def test_another_commit_or_workspace_under_a_known_id_is_inconsistent(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    request = system.request(url, "a")
    await system.create(request)
    other_commit = request.model_copy(update={"commit": "1" * 40})
    assert (await system.create(other_commit)).outcome is CreateOutcome.INCONSISTENT
    other_workspace = request.model_copy(update={"workspace": "elsewhere"})
    assert (await system.create(other_workspace)).outcome is CreateOutcome.INCONSISTENT


@pytest.mark.spec("rap-api:65", "controller:44", "controller:63", "rap-api:68")
async def test_the_second_of_two_raps_for_one_action_has_nothing_to_do(system: RapSystem) -> None:
    url = system.project(action("a"))
    first, second = system.request(url, "a"), system.request(url, "a")
    answers = await asyncio.gather(system.create(first), system.create(second))
    assert sorted(answer.outcome for answer in answers) == [
        CreateOutcome.CREATED,
        CreateOutcome.NOTHING_TO_DO,
    ]
    nothing = next(one for one in answers if one.outcome is CreateOutcome.NOTHING_TO_DO)
    assert nothing.details == "All requested actions were already scheduled to run"


@pytest.mark.spec("controller:34", "rap-api:78", "rap-api:80")
async def test_a_refused_request_leaves_nothing_behind(system: RapSystem) -> None:
    request = system.request("https://example.org/nowhere", "a")
    system.records.announce(_intent(request))
    answer = await system.create(request)
    assert answer.outcome is CreateOutcome.REFUSED
    assert answer.details == "Could not read from https://example.org/nowhere"
    assert system.jobs(request) == {}
    assert system.intent(request).state is IntentState.REFUSED
    workspace = system.client.get_workflow_handle(ids.workspace_workflow_id(system.slug, "ws"))
    await workspace.result()
    assert (await workspace.describe()).status is WorkflowExecutionStatus.COMPLETED


@pytest.mark.spec("rap-api:79")
async def test_after_nothing_to_do_the_same_id_can_create_later(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        first, second = system.request(url, "a"), system.request(url, "a")
        await system.create(first)
        assert (await system.create(second)).outcome is CreateOutcome.NOTHING_TO_DO
        await host.has_started("a")
        host.release("a")
        await system.has_ended(first)
        await system.until(lambda: system.jobs(first)["a"].status_code is SUCCEEDED)
        assert (await system.create(second)).outcome is CreateOutcome.CREATED
        await system.has_ended(second)


@pytest.mark.spec("rap-api:87")
async def test_an_unforeseen_error_creates_nothing_and_frees_the_workspace(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    system.projects.broken.add(url)
    request = _announced(system, system.request(url, "a"))
    assert (await system.create(request)).outcome is CreateOutcome.FAILED
    assert system.intent(request).state is IntentState.REFUSED
    assert system.jobs(request) == {}
    system.projects.broken.remove(url)
    assert (await system.create(request)).outcome is CreateOutcome.CREATED


@pytest.mark.spec("controller:52", "controller:53", "rap-api:77")
async def test_workspaces_are_independent_and_created_in_parallel(system: RapSystem) -> None:
    url, slow = system.project(action("a")), system.project(action("a"))
    system.projects.gates[slow] = gate = asyncio.Event()
    waiting = asyncio.create_task(system.create(system.request(slow, "a", workspace="slow")))
    answer = await system.create(system.request(url, "a", workspace="quick"))
    assert answer.outcome is CreateOutcome.CREATED
    assert not waiting.done()
    gate.set()
    assert (await waiting).outcome is CreateOutcome.CREATED


@pytest.mark.spec("controller:44", "controller:52", "rap-api:75", "rap-api:76")
async def test_a_job_waits_for_a_job_of_another_rap(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        first, second = system.request(url, "a"), system.request(url, "b")
        await system.create(first)
        await host.has_started("a")
        answer = await system.create(second)
        assert answer.count == 1
        await system.reaches(second, b=StatusCode.WAITING_ON_DEPENDENCIES)
        host.release("a")
        await system.reaches(second, b=SUCCEEDED)
        await system.has_ended(second)
    assert host.runs_of("a") == [ids.task_id(ids.job_id(first.rap_id, "a"), 1)]


@pytest.mark.spec("controller:99", "rap-api:127")
async def test_cancelling_a_job_fails_the_job_of_another_rap_that_waits(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        first, second = system.request(url, "a"), system.request(url, "b")
        await system.create(first)
        await host.has_started("a")
        await system.create(second)
        await system.cancel(first, "a")
        await system.reaches(second, b=StatusCode.DEPENDENCY_FAILED)
        await system.has_ended(first)


@pytest.mark.spec("controller:45", "controller:47", "rap-api:69", "rap-api:71", "rap-api:72")
async def test_succeeded_jobs_are_reused(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host() as host:
        first = system.request(url, "run_all")
        await system.create(first)
        await system.has_ended(first)
        again = await system.create(system.request(url, "run_all"))
        assert again.details == "All actions have already completed successfully"
        third = system.request(url, "b")
        assert (await system.create(third)).count == 1
        await system.has_ended(third)
    assert host.started[-1].input_job_ids == (ids.job_id(first.rap_id, "a"),)


async def test_a_create_beyond_what_a_backend_holds_is_refused_and_can_be_sent_again(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    request = system.request(url, "a")
    system.projects.unfinished[system.slug] = 100_000
    answer = await system.create(request)
    assert answer.outcome is CreateOutcome.REFUSED
    assert "has 100,000 unfinished jobs" in answer.details
    system.projects.unfinished[system.slug] = 99_999
    assert (await system.create(request)).outcome is CreateOutcome.CREATED


async def test_a_rap_too_large_for_a_history_is_refused_with_a_sentence(system: RapSystem) -> None:
    command = f"python:v2 {random.Random(0).randbytes(1_600_000).hex()}"  # nothing packs it
    wordy = action("a").model_copy(update={"run_command": command})
    request = system.request(system.project(wordy), "a")
    answer = await system.create(request)
    assert answer.outcome is CreateOutcome.REFUSED
    assert answer.details.startswith("The request comes to 1 jobs, more than can be run at once")
    assert system.jobs(request) == {}


async def test_a_create_that_was_carried_out_is_settled_as_accepted(system: RapSystem) -> None:
    url = system.project(action("a"))
    request = _announced(system, system.request(url, "a"))
    await system.create(request)
    answer = await system.settle("ws", SettleRequest(rap_id=request.rap_id, number=1))
    assert answer.state is IntentState.ACCEPTED
    assert system.intent(request).state is IntentState.ACCEPTED


@pytest.mark.spec("rap-api:88")
async def test_a_create_that_arrives_after_it_was_given_up_creates_nothing(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    late = _announced(system, system.request(url, "a"))
    answer = await system.settle("ws", SettleRequest(rap_id=late.rap_id, number=late.number))
    assert answer.state is IntentState.REFUSED
    assert system.intent(late).state is IntentState.REFUSED
    assert (await system.create(late)).outcome is CreateOutcome.REFUSED
    assert system.jobs(late) == {}
    new = _announced(system, late)
    assert new.number == 2
    assert (await system.create(new)).outcome is CreateOutcome.CREATED


def _announced(system: RapSystem, request: CreateRequest) -> CreateRequest:
    """The request as the API sends it, once it has announced it."""
    standing = system.records.announce(_intent(request))
    return request.model_copy(update={"number": standing.number})


def _intent(request: CreateRequest) -> Intent:
    return Intent(
        rap_id=request.rap_id,
        backend=request.backend,
        workspace=request.workspace,
        repo_url=request.repo_url,
        commit=request.commit,
    )


@pytest.mark.spec("controller:62", "rap-api:70")
async def test_run_all_with_everything_pending_has_nothing_to_do(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.create(system.request(url, "run_all"))
    answer = await system.create(system.request(url, "run_all"))
    assert answer.outcome is CreateOutcome.NOTHING_TO_DO
    assert answer.details == "All actions have already completed successfully"


@pytest.mark.spec("controller:48", "rap-api:73")
async def test_force_runs_succeeded_dependencies_again(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host() as host:
        first = system.request(url, "b")
        await system.create(first)
        await system.has_ended(first)
        forced = system.request(url, "b", force_run_dependencies=True)
        assert (await system.create(forced)).count == 2
        await system.has_ended(forced)
    assert len(host.runs_of("a")) == 2


@pytest.mark.spec("controller:46", "rap-api:74")
async def test_failed_dependencies_run_again_without_force(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host(exits={"a": 1}) as host:
        first = system.request(url, "b")
        await system.create(first)
        await system.has_ended(first)
        host.exits.clear()
        second = system.request(url, "b")
        assert (await system.create(second)).count == 2
        await system.reaches(second, b=SUCCEEDED)
        await system.has_ended(second)


# --- what passes ---


@pytest.mark.spec("rap-api:88")
async def test_what_passes_is_tried_again_while_the_client_waits(system: RapSystem) -> None:
    url = system.project(action("a"))
    system.projects.passing[url] = 2
    answer = await system.create(system.request(url, "a"))
    assert answer.outcome is CreateOutcome.CREATED


@pytest.mark.spec("rap-api:88")
async def test_what_lasts_longer_decides_nothing_and_the_same_request_may_come_again(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    request = _announced(system, system.request(url, "a"))
    system.projects.passing[url] = 3
    answer = await system.create(request)
    assert (answer.outcome, answer.details) == (CreateOutcome.NOT_NOW, "The remote is away.")
    assert system.intent(request).state is IntentState.PENDING
    assert (await system.create(request)).outcome is CreateOutcome.CREATED
    assert system.intent(request).state is IntentState.ACCEPTED


async def test_a_controller_that_is_killed_while_it_reads_is_noticed_and_another_reads(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    system.projects.dying.add(url)
    assert (await system.create(system.request(url, "a"))).outcome is CreateOutcome.CREATED
    assert system.projects.reads.count(url) == 2


async def test_a_workspace_that_has_not_decided_in_time_says_so_and_a_busy_one_too(
    system: RapSystem,
) -> None:
    slow, quick = system.project(action("a")), system.project(action("b"))
    gate = system.projects.gates[slow] = asyncio.Event()
    system.projects.at_a_gate.clear()
    first = system.request(slow, "a", budget=3.0)
    second = system.request(quick, "b", budget=0.2)
    waiting = asyncio.create_task(system.create(first))
    await system.projects.at_a_gate.wait()
    assert (await system.create(second)).outcome is CreateOutcome.NOT_NOW
    assert (await waiting).outcome is CreateOutcome.NOT_NOW
    assert system.jobs(first) == {}
    gate.set()
    for request in (first, second):
        again = request.model_copy(update={"budget": 22.0})
        assert (await system.create(again)).outcome is CreateOutcome.CREATED
