"""How the jobs of one request travel together."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap.messages.workspaces import RapStart
from rap.models import JobSpec, PrivacyLevel, Project, ProjectAction, ProjectAnswer
from rap.planned_jobs import ResolveAnswer, ResolveRequest
from rap.temporal.codec import size_as_sent
from tests.support.factories import job_spec, study

pytestmark = pytest.mark.unit

TEMPORAL_TAKES = 2 * 1024 * 1024
SCOPE = {"dataset_permissions": ["ons_deaths", "isaric"], "project": "one"}


def rap_start(*jobs: JobSpec) -> RapStart:
    return RapStart(rap_id="r", backend="test", workspace="w", jobs=jobs, image_registry="x")


def large(count: int, command_of: Any) -> tuple[JobSpec, ...]:
    chance = random.Random(0)
    return tuple(
        job_spec(
            f"model_{number:04d}-cohort_prevax-main",
            id=f"{chance.getrandbits(64):016x}",
            run_command=command_of(number, chance),
            outputs={PrivacyLevel.MODERATELY_SENSITIVE: {"m": f"output/model/{number}.csv"}},
            requires_outputs_from=("a", "b"),
            wait_for_job_ids=(f"{chance.getrandbits(64):016x}",),
            input_job_ids=(f"{chance.getrandbits(64):016x}",),
            requires_db=number % 10 == 0,
            analysis_scope=SCOPE if number % 10 == 0 else {},
            trace_context={"traceparent": f"00-{chance.getrandbits(192):048x}-01"},
        )
        for number in range(count)
    )


def usual_command(number: int, _chance: random.Random) -> str:
    return f"python:v2 python analysis/model.py --name {number} --covariates ".ljust(400, "c")


def changing_command(_number: int, chance: random.Random) -> str:
    """Twenty options, each of them one of thousands."""
    options = (f"--option-{chance.randrange(5_000)}={chance.randrange(100)}" for _ in range(20))
    return f"python:v2 {' '.join(options)}"


def test_what_all_jobs_share_is_sent_once() -> None:
    start = rap_start(*large(500, usual_command))
    text = start.model_dump_json()
    assert text.count(study().commit) == 1
    assert text.count("ons_deaths") == 1
    assert RapStart.model_validate_json(text) == start


@pytest.mark.parametrize("command_of", [usual_command, changing_command])
def test_five_thousand_jobs_fit_into_a_payload(command_of: Any) -> None:
    jobs = large(5_000, command_of)
    actions = tuple(
        ProjectAction(
            name=job.action,
            run_command=job.run_command,
            needs=job.requires_outputs_from,
            outputs=job.outputs,
        )
        for job in jobs
    )
    answer = ProjectAnswer(project=Project(actions=actions))
    for message in (rap_start(*jobs), answer, ResolveRequest(jobs=jobs), ResolveAnswer(jobs=jobs)):
        assert size_as_sent(message) < TEMPORAL_TAKES * 0.75


_JOBS = st.lists(
    st.builds(
        job_spec,
        st.sampled_from(["a", "b"]),
        workspace=st.sampled_from(["", "w", "v"]),
        study=st.sampled_from([study(), study(branch="other")]),
        database_name=st.sampled_from(["default", "other"]),
        user=st.sampled_from(["", "u", "v"]),
        project=st.sampled_from(["", "p"]),
        orgs=st.sampled_from([(), ("o",), ("o", "p")]),
        analysis_scope=st.sampled_from([{}, SCOPE, {"other": None}]),
        created_at=st.integers(0, 2),
        weight=st.sampled_from([1.0, 4.0]),
        action_commit=st.sampled_from([None, "c"]),
        outputs=st.sampled_from([{}, {PrivacyLevel.HIGHLY_SENSITIVE: {"a": "a.csv"}}]),
    ),
    max_size=5,
)


@given(jobs=_JOBS)
def test_every_job_arrives_as_it_was(jobs: list[JobSpec]) -> None:
    request = ResolveRequest(jobs=tuple(jobs))
    assert ResolveRequest.model_validate(json.loads(request.model_dump_json())) == request
    assert ResolveRequest.model_validate(request.model_dump()) == request
