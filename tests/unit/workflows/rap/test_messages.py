"""What a RAP tells others, and when."""

import asyncio
from collections.abc import Callable

import pytest
from temporalio import workflow

from rap.messages.workspaces import RapStart
from rap.rows import JobChange, JobChanges
from rap.status import StatusCode
from tests.support.factories import job_spec
from workflows.rap import messages as module
from workflows.rap.messages import HELD_BACK_S, RapMessages

pytestmark = pytest.mark.unit

TURNS = 20


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def test_readers_are_told_although_something_starts_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, written = [100.0], list[JobChanges]()

    async def wait_condition(condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0)

    async def on_records(_: object, changes: JobChanges) -> None:
        written.append(changes)

    monkeypatch.setattr(workflow, "wait_condition", wait_condition)
    monkeypatch.setattr(workflow, "time", lambda: now[0])
    monkeypatch.setattr(workflow, "set_current_details", lambda _: None)
    monkeypatch.setattr(module, "on_records", on_records)
    spec = job_spec()
    start = RapStart(rap_id="r", backend="b", workspace="w", jobs=(spec,), image_registry="x")
    messages = RapMessages(
        start, is_over=lambda _: False, is_done=lambda: False, describe=lambda: ""
    )
    deliveries = messages.deliver()
    change = JobChange(
        job_id=spec.id, attempt=1, code=StatusCode.INITIATED, message="Preparing", at=now[0]
    )
    with messages.starting_work():
        messages.record(change)
        await turns()
        assert written == []
        now[0] += HELD_BACK_S
        await turns()
        assert [one.changes for one in written] == [(change,)]
    for task in deliveries:
        task.cancel()
