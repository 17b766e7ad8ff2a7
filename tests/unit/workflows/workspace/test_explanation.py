"""Why an action would or would not run."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap.messages.workspaces import KnownJob
from rap.models import CreateRequest, PrivacyLevel, ProjectAction
from rap.status import State
from tests.support.factories import create_request
from workflows.workspace.explanation import Explanation, Verdict, explain
from workflows.workspace.planning import Plan, plan_jobs

pytestmark = pytest.mark.unit

NAMES = "abcde"
# A chain e <- d <- c, and b <- a beside it.
NEEDS = {"a": ("b",), "b": (), "c": ("d",), "d": ("e",), "e": ()}
ACTIONS = tuple(
    ProjectAction(
        name=name,
        run_command=f"python:v2 {name}",
        needs=NEEDS[name],
        outputs={PrivacyLevel.HIGHLY_SENSITIVE: {"o": f"{name}.csv"}},
    )
    for name in NAMES
)


def explained(
    states: dict[str, State], asked: CreateRequest
) -> tuple[Plan, dict[str, Explanation]]:
    current = {
        name: KnownJob(job_id=f"job-{name}", rap_id="old", state=state)
        for name, state in states.items()
    }
    plan = plan_jobs(ACTIONS, current, asked, created_at=0)
    return plan, {one.action: one for one in explain(ACTIONS, current, asked, plan)}


def test_each_reason_has_its_sentence() -> None:
    states = {"c": State.SUCCEEDED, "d": State.FAILED, "e": State.SUCCEEDED, "b": State.RUNNING}
    _, by_action = explained(states, create_request("a", "c"))
    assert {name: (one.verdict, one.because) for name, one in by_action.items()} == {
        "a": (Verdict.RUNS, "it was asked for by name"),
        "b": (Verdict.WAITED_FOR, "job job-b is running"),
        "c": (Verdict.RUNS, "it was asked for by name"),
        "d": (Verdict.RUNS, "its last job, job-d, failed"),
        "e": (Verdict.REUSED, "job job-e has succeeded"),
    }


def test_needs_that_never_ran_and_needs_that_are_forced() -> None:
    _, fresh = explained({}, create_request("c"))
    assert fresh["e"].because == "it has not run in this workspace"
    assert fresh["a"].verdict is Verdict.NOT_NEEDED
    _, forced = explained(
        dict.fromkeys("cde", State.SUCCEEDED), create_request("c", force_run_dependencies=True)
    )
    assert forced["e"].because == "what is needed is forced to run again"


@given(
    st.dictionaries(st.sampled_from(NAMES), st.sampled_from(list(State))),
    st.lists(st.sampled_from([*NAMES, "run_all"]), min_size=1),
    st.booleans(),
)
def test_says_of_exactly_the_planned_jobs_that_they_run(
    states: dict[str, Any], names: list[str], force: bool
) -> None:
    plan, by_action = explained(states, create_request(*names, force_run_dependencies=force))
    runs = {name for name, one in by_action.items() if one.verdict is Verdict.RUNS}
    assert runs == {job.action for job in plan.jobs}
    waited = {name for name, one in by_action.items() if one.verdict is Verdict.WAITED_FOR}
    for job in plan.jobs:
        assert {name for name in job.requires_outputs_from if name not in runs} <= waited | {
            name for name, one in by_action.items() if one.verdict is Verdict.REUSED
        }
