"""What agents may send that makes no sense: it fails no workflow task, and no job of a user."""

from typing import Any

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.common import RawValue

from rap import ids
from rap.egress import Ending, Fault, JobOutcome, JobProgress, Stage
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED
END_OF_TIME = 1e300


async def test_a_time_that_no_calendar_has_is_left_out_of_an_outcome(system: RapSystem) -> None:
    url = system.project(action("a"))
    outcome = JobOutcome.model_construct(
        task_id="t",
        ending=Ending.COMPLETED,
        exit_code=0,
        stages={Stage.PREPARED: END_OF_TIME},
        memory_peak_bytes=10**40,
    )
    await system.start_backend()
    async with system.host(outcomes={"a": [outcome]}):
        request = system.request(url, "a")
        await system.create(request)
        await system.reaches(request, a=SUCCEEDED)
        await system.has_ended(request)


@pytest.mark.parametrize(
    "nonsense",
    [
        "nonsense",
        {"task_id": "t", "ending": "of a newer agent"},
        JobOutcome.model_construct(task_id="t", ending=Ending.FAILED, fault="new"),  # type: ignore[arg-type]
        RawValue(Payload(metadata={"encoding": b"json/plain"}, data=b"{")),
        RawValue(Payload(metadata={"encoding": b"binary/zlib"}, data=b"not packed")),
        RawValue(Payload(metadata={"encoding": b"unheard of"}, data=b"")),
    ],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
async def test_an_answer_that_is_no_outcome_makes_a_new_attempt(
    system: RapSystem, nonsense: Any
) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(outcomes={"a": [nonsense]}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await system.reaches(request, a=StatusCode.WAITING_ON_NEW_TASK)
        jobs = await system.reaches(request, a=SUCCEEDED)
    job_id = jobs["a"].id
    assert host.runs_of("a") == [ids.task_id(job_id, 1), ids.task_id(job_id, 2)]


async def test_a_stage_is_shown_as_entered_within_the_life_of_its_job(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        job = system.jobs(request)["a"]
        for at in (0.0, 4e9, END_OF_TIME):
            about: dict[str, Any] = {"job_id": job.id, "rap_id": job.rap_id, "attempt": 1}
            progress = JobProgress.model_construct(**about, stage=Stage.EXECUTING, since=at)
            await system.report(host, jobs=(progress,))
        shown = await system.reaches(request, a=StatusCode.EXECUTING)
        started_at = shown["a"].started_at
        assert started_at is not None
        assert job.created_at <= started_at < 4e9
        host.release("a")
        await system.reaches(request, a=SUCCEEDED)


async def test_an_order_whose_answer_is_nonsense_was_carried_out(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        fault = JobOutcome(task_id="t", ending=Ending.FAILED, fault=Fault.UNEXPECTED)
        host.answers_orders_with = RawValue(Payload(metadata={"encoding": b"unheard of"}, data=b""))
        host.outcomes["a"] = [fault]
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.cancel(request, "a")
        await system.has_ended(request)
