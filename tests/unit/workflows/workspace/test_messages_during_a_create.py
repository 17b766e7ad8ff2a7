"""What is said to a workspace while it waits for the start of a RAP."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio import workflow as temporal

from rap.ids import job_id
from rap.messages.workspaces import (
    CancelAnswer,
    CancelRequest,
    CreateAnswer,
    CreateOutcome,
    JobsFinished,
    KnownJob,
    KnownRap,
    WorkspaceStart,
)
from rap.models import CreateRequest, JobSpec, Project, ProjectAction
from rap.status import State
from tests.support.factories import COMMIT, REPO, create_request, job_spec
from workflows.rap import start as rap_starting
from workflows.workspace import creating
from workflows.workspace import workflow as module
from workflows.workspace.workflow import WorkspaceWorkflow

pytestmark = pytest.mark.unit

EARLIER, LATER = "e" * 16, "l" * 16
AWAITED, OWN = job_id(EARLIER, "a"), job_id(LATER, "b")
PROJECT = Project(actions=(ProjectAction(name="b", run_command="python:v2 b.py", outputs={}),))


class Starting:
    """The start of a RAP's workflow, which takes until ``end`` is called."""

    def __init__(self) -> None:
        self.begun, self._end, self._started = asyncio.Event(), asyncio.Event(), True

    async def __call__(self, *_: object) -> bool:
        self.begun.set()
        await self._end.wait()
        return self._started

    def end(self, *, started: bool = True) -> None:
        self._started = started
        self._end.set()


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Starting:
    async def recorded(_: object, row: object) -> object:
        return row

    async def wait_condition(condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0)

    start = Starting()
    monkeypatch.setattr(creating, "start_rap", start)
    monkeypatch.setattr(creating, "on_records", recorded)
    monkeypatch.setattr(rap_starting, "_new_trace", dict)
    monkeypatch.setattr(temporal, "time", lambda: 1.0)
    monkeypatch.setattr(temporal, "wait_condition", wait_condition)
    monkeypatch.setattr(WorkspaceWorkflow, "_show", lambda _: None)
    return start


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, JobsFinished]]:
    sent: list[tuple[str, JobsFinished]] = []

    async def send(_: object, workflow_id: str, message: JobsFinished, **__: object) -> bool:
        sent.append((workflow_id, message))
        return True

    monkeypatch.setattr(module, "send_signal", send)
    return sent


def workspace() -> WorkspaceWorkflow:
    """One in which action ``a`` runs for an earlier RAP."""
    rap = KnownRap(rap_id=EARLIER, repo_url=REPO, commit=COMMIT, count=1, created_at=0.0)
    job = KnownJob(job_id=AWAITED, rap_id=EARLIER, state=State.RUNNING)
    return WorkspaceWorkflow(
        WorkspaceStart(backend="test", workspace="workspace", raps=(rap,), jobs={"a": (job,)})
    )


async def started_by(
    entity: WorkspaceWorkflow, request: CreateRequest, jobs: tuple[JobSpec, ...]
) -> CreateAnswer:
    """The answer of a workspace that starts a RAP with these jobs."""
    return await entity._creation.start(request, PROJECT, jobs, entity._jobs)


async def create(
    entity: WorkspaceWorkflow, starting: Starting, meanwhile: Callable[[], None], *, started: bool
) -> CreateAnswer:
    """Create the later RAP, whose job waits for the earlier one's; something happens meanwhile."""
    jobs = (job_spec("b", id=OWN, rap_id=LATER, wait_for_job_ids=(AWAITED,)),)
    request = create_request("b", rap_id=LATER)
    answer = asyncio.ensure_future(started_by(entity, request, jobs))
    await starting.begun.wait()
    meanwhile()
    starting.end(started=started)
    return await answer


async def delivered(entity: WorkspaceWorkflow) -> None:
    delivering = asyncio.ensure_future(entity._announcements.run())
    for _ in range(20):
        await asyncio.sleep(0)
    delivering.cancel()
    assert entity._announcements.is_empty


async def test_a_job_that_ends_just_while_a_rap_that_waits_for_it_is_started_is_told_to_it(
    starting: Starting, sent: list[tuple[str, JobsFinished]]
) -> None:
    entity = workspace()
    end = JobsFinished(rap_id=EARLIER, states={AWAITED: State.SUCCEEDED}, rap_done=True)
    answer = await create(entity, starting, lambda: entity.jobs_finished(end), started=True)
    assert answer.outcome is CreateOutcome.CREATED
    await delivered(entity)
    assert sent == [(f"rap/workspace/{LATER}", end)]


async def test_nothing_is_told_to_a_rap_before_it_is_started(
    starting: Starting, sent: list[tuple[str, JobsFinished]]
) -> None:
    entity = workspace()
    end = JobsFinished(rap_id=EARLIER, states={AWAITED: State.SUCCEEDED}, rap_done=True)
    waiting = asyncio.ensure_future(entity._announcements.run())
    told_early = asyncio.Event()

    async def look() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        if sent:
            told_early.set()

    looking: list[Awaitable[None]] = []

    def meanwhile() -> None:
        entity.jobs_finished(end)
        looking.append(asyncio.ensure_future(look()))

    jobs = (job_spec("b", id=OWN, rap_id=LATER, wait_for_job_ids=(AWAITED,)),)
    answer = asyncio.ensure_future(started_by(entity, create_request("b", rap_id=LATER), jobs))
    await starting.begun.wait()
    meanwhile()
    await looking[0]
    starting.end()
    await answer
    waiting.cancel()
    assert not told_early.is_set()


async def test_the_end_of_a_rap_that_comes_before_its_start_is_confirmed_is_not_lost(
    starting: Starting, sent: list[tuple[str, JobsFinished]]
) -> None:
    entity = workspace()
    end = JobsFinished(rap_id=LATER, states={OWN: State.SUCCEEDED}, rap_done=True)
    await create(entity, starting, lambda: entity.jobs_finished(end), started=True)
    assert entity.current_jobs()["b"].state is State.SUCCEEDED
    assert not entity._jobs.is_active(LATER)


async def test_a_cancel_waits_until_the_rap_is_there_to_be_told(
    starting: Starting, sent: list[tuple[str, JobsFinished]]
) -> None:
    entity = workspace()
    answers: list[asyncio.Future[CancelAnswer]] = []
    sent_early: list[object] = []

    def cancel() -> None:
        order = CancelRequest(rap_id=LATER, actions=("b",))
        cancelling: Any = entity.cancel_jobs
        answers.append(asyncio.ensure_future(cancelling(order)))

    async def look() -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        sent_early.extend(sent)

    jobs = (job_spec("b", id=OWN, rap_id=LATER, wait_for_job_ids=(AWAITED,)),)
    created = asyncio.ensure_future(started_by(entity, create_request("b", rap_id=LATER), jobs))
    await starting.begun.wait()
    cancel()
    await look()
    starting.end()
    await created
    assert (await answers[0]).cancelled == 1
    assert not sent_early
    assert [workflow_id for workflow_id, _ in sent] == [f"rap/workspace/{LATER}"]


async def test_a_rap_whose_id_is_taken_elsewhere_leaves_nothing_behind(
    starting: Starting, sent: list[tuple[str, JobsFinished]]
) -> None:
    entity = workspace()
    before = entity._jobs.carried_over()
    answer = await create(entity, starting, lambda: None, started=False)
    assert answer.outcome is CreateOutcome.INCONSISTENT
    assert entity._jobs.carried_over() == before
