"""What a RAP knows goes over to the next run of its workflow, all of it."""

import random
from dataclasses import fields
from typing import Any

import pytest

from rap.egress import Metrics
from rap.messages.carried_over import JobState, RapState
from rap.messages.slots import SlotGrant
from rap.messages.workspaces import RapStart
from rap.models import ImageAnswer
from rap.rows import JobChange
from rap.status import StatusCode
from rap.temporal.codec import size_as_sent
from tests.support.factories import job_spec
from workflows.rap.progress import Progress
from workflows.rap.start import LARGEST_RAP, LARGEST_STATE, MOST_JOBS, next_start

pytestmark = pytest.mark.unit

SPEC = job_spec()
ENDED = JobChange(
    job_id=SPEC.id,
    attempt=3,
    code=StatusCode.NONZERO_EXIT,
    message="Job exited with an error: out of memory",
    at=7.5,
    exit_code=137,
    metrics=Metrics(cpu_mean=1.5),
)
STARTED = JobChange(
    job_id=SPEC.id, attempt=3, code=StatusCode.INITIATED, message="Preparing", at=5.0
)
UNUSUAL: dict[str, Any] = {
    "position": 4,
    "spec": SPEC,
    "code": ENDED.code,
    "message": ENDED.message,
    "attempt": 3,
    "faults": 2,
    "interrupted_at": (1.0, 2.5),
    "cancelled_by": "",
    "grant": SlotGrant(job_id=SPEC.id, attempt=3, host="h1"),
    "pinned": ImageAnswer(digest="sha256:0"),
    "is_running": True,
    "resume_at": 9.0,
    "is_queued": True,
    "image": "abc",
    "holds_slot": True,
    "host": "h1",
    "started": STARTED,
    "changed": ENDED,
}
NOT_CARRIED = {"wake"}


@pytest.mark.parametrize("name", [field.name for field in fields(Progress)])
def test_everything_about_a_job_goes_over_to_the_next_run(name: str) -> None:
    if name in NOT_CARRIED:
        return
    for job in (Progress(**UNUSUAL), Progress(position=4, spec=SPEC)):
        state = RapState(jobs=(job.carried_over(),), is_recorded=True)
        (told,) = RapState.model_validate_json(state.model_dump_json()).jobs
        following = Progress(position=4, spec=SPEC)
        following.resume(told)
        assert getattr(following, name) == getattr(job, name)


def test_a_job_of_which_nothing_happened_takes_no_room() -> None:
    state = RapState(jobs=(Progress(0, SPEC).carried_over(),) * 2, is_recorded=True)
    assert state.model_dump(mode="json")["jobs"] == [{}, {}]


def test_the_largest_rap_can_continue_as_new() -> None:
    chance = random.Random(0)

    def job(number: int) -> tuple[Any, JobState]:
        spec = job_spec(
            f"a{number}", id=f"{chance.getrandbits(64):016x}", run_command=f"x {number}"
        )
        figures = {
            name: chance.random() * 1e6
            for name, field in Metrics.model_fields.items()
            if "float" in str(field.annotation)
        }
        progress = Progress(number, spec)
        for code, metrics in ((StatusCode.INITIATED, None), (StatusCode.SUCCEEDED, figures)):
            progress.take(
                JobChange(
                    job_id=spec.id,
                    attempt=1,
                    code=code,
                    message="Completed successfully",
                    at=1.7e9 + chance.random() * 1e5,
                    metrics=Metrics(**metrics) if metrics else None,
                    exit_code=0,
                    image_id="sha256:" + "0" * 64,
                )
            )
        progress.host = "host1"
        return spec, progress.carried_over()

    specs, states = zip(*map(job, range(MOST_JOBS)), strict=True)
    start = RapStart(rap_id="r", backend="b", workspace="w", jobs=specs, image_registry="x")
    # Of random text, so that it is as large packed as it may be.
    room = LARGEST_RAP - size_as_sent(start)
    start = start.model_copy(update={"about": chance.randbytes(room * 7 // 8).hex()})
    assert size_as_sent(start) == pytest.approx(LARGEST_RAP, rel=0.05)
    state = RapState(jobs=states, is_recorded=True)
    following = next_start(start, jobs=specs, awaited={}, state=state)
    assert size_as_sent(following) <= LARGEST_STATE
