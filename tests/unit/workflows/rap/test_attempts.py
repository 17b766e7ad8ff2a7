"""How a RAP waits for attempts that an earlier run of its workflow started."""

import asyncio

import pytest

from rap.messages.jobs import AttemptEnd, AttemptEnds, AttemptResult
from tests.support.factories import job_spec
from workflows.job.start import attempt_workflow_id
from workflows.rap import attempts as module
from workflows.rap.attempts import EarlierAttempts

pytestmark = pytest.mark.unit

FIRST, SECOND, LATE = (job_spec(name, id=name) for name in ("first", "second", "late"))


async def test_attempts_are_asked_about_together_and_a_late_one_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[str, ...]] = []
    ended: dict[str, asyncio.Event] = {
        attempt_workflow_id(job): asyncio.Event() for job in (FIRST, SECOND, LATE)
    }

    async def await_attempts(workflow_ids: tuple[str, ...]) -> AttemptEnds:
        asked.append(workflow_ids)
        waits = [asyncio.create_task(ended[one].wait()) for one in workflow_ids]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        ends = [one for one in workflow_ids if ended[one].is_set()]
        return AttemptEnds(
            ends=tuple(AttemptEnd(workflow_id=one, result=AttemptResult()) for one in ends)
        )

    async def turns() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    monkeypatch.setattr(module, "await_attempts", await_attempts)
    earlier = EarlierAttempts()
    first, second, late = map(attempt_workflow_id, (FIRST, SECOND, LATE))
    waiting = {
        attempt_workflow_id(job): asyncio.create_task(earlier.end_of(job))
        for job in (FIRST, SECOND)
    }
    await turns()
    waiting[late] = asyncio.create_task(earlier.end_of(LATE))
    await turns()
    assert asked == [(first, second), (late,)]
    # Nobody waits for the others.
    for one in (late, second, first):
        ended[one].set()
        assert (await waiting[one]).workflow_id == one
    assert asked[2:] == [(first,)]
