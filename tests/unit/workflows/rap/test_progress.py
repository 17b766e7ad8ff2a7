"""How one job of a RAP waits."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from temporalio import workflow

from rap.egress import Ending, Fault, Interruption, JobOutcome
from rap.messages.jobs import AttemptResult, StopReason
from tests.support.factories import job_spec
from workflows.rap.progress import Progress

pytestmark = pytest.mark.unit

TURNS = 20
"""Of the event loop: enough for all that follows by itself."""


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.fixture
def due(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.Event]:
    """Lets the timers end that are set, in their order."""
    due: list[asyncio.Event] = []

    async def sleep(_: float, *, summary: str) -> None:
        due.append(asyncio.Event())
        await due[-1].wait()

    async def wait_condition(condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0)

    monkeypatch.setattr(workflow, "sleep", sleep)
    monkeypatch.setattr(workflow, "wait_condition", wait_condition)
    return due


async def test_a_pause_ends_when_its_time_is_over(due: list[asyncio.Event]) -> None:
    pause = asyncio.ensure_future(Progress(0, job_spec()).wait(seconds=5, summary="pause"))
    await turns()
    assert not pause.done()
    due[0].set()
    await pause


async def test_a_pause_that_was_cut_short_does_not_end_the_next_one(
    due: list[asyncio.Event],
) -> None:
    job = Progress(0, job_spec())

    async def pause_twice() -> None:
        await job.wait(seconds=5, summary="first")
        await job.wait(seconds=5, summary="second")

    pauses = asyncio.ensure_future(pause_twice())
    await turns()
    job.wake.set()
    await turns()
    assert not pauses.done()
    due[1].set()
    await pauses


def after(at: float, **facts: Any) -> AttemptResult:
    return AttemptResult(outcome=JobOutcome(task_id="t", **facts), ended_at=at)


def interrupted(at: float) -> AttemptResult:
    return after(at, ending=Ending.INTERRUPTED, interruption=Interruption.HOST_REBOOTED)


def test_faults_and_interruptions_are_counted_apart() -> None:
    job = Progress(0, job_spec("a"))
    job.start_over(after(1.0, ending=Ending.FAILED, fault=Fault.DISK_FULL))
    job.start_over(interrupted(2.0))
    job.start_over(AttemptResult(stopped=StopReason.REBOOT))
    job.start_over(after(3.0, ending=Ending.RETURNED, fault=Fault.DISK_FULL))
    job.start_over(interrupted(4.0))
    assert (job.attempt, job.faults, job.interrupted_at) == (6, 1, (2.0, 4.0))
