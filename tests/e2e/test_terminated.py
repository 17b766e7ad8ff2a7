"""Workflows are terminated by hand, as in the Web UI, while five real jobs run.

The system goes on: what was lost comes back, no job runs twice, nothing is left over, and readers
are told the truth. ``rap doctor`` finds nothing to mend after each.
"""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from infra.local_system import BACKEND, CONTROLLER
from rap import ids
from tests.support.live_system import LiveSystem, Rap, Study, eventually, gated, watching, write
from tests.support.operators import WHY, RapCommand, TemporalCommand, are_gone, nothing_is_left

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]

THE_BACKEND = ids.backend_workflow_id(BACKEND)
FIVE = tuple(f"job{number}" for number in range(5))
KILLED = ("failed", "killed_by_admin", "Job killed by an OpenSAFELY administrator")


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, images: None) -> Iterator[Any]:
    """One system for all tests of this module; each leaves it at work."""
    slots = {"TEST_MAX_WORKERS": "5"}
    system = LiveSystem(tmp_path_factory.mktemp("terminated"), overrides=slots)
    try:
        system.start()
        yield system
    finally:
        system.end()


@pytest.fixture
def operator(system: LiveSystem) -> Iterator[Any]:
    operator = TemporalCommand(system)
    yield operator
    system.restart_the_dead()


@pytest.fixture
def watched() -> Iterator[Any]:
    """A workspace whose containers are counted from the very first."""
    workspace = f"ws-{uuid4().hex[:12]}"
    with watching(workspace) as starts:
        yield workspace, starts


def at_their_gates(rap: Rap, *names: str) -> Rap:
    for name in names:
        rap.running_container(name)
    return rap


def open_gates(rap: Rap, *names: str) -> None:
    for name in names:
        rap.open_gate(name)


def codes(rap: Rap) -> dict[str, str]:
    return {name: job["status_code"] for name, job in rap.wait_until_over().items()}


def all_is_well(system: LiveSystem, *raps: Rap) -> None:
    nothing_is_left(system, *raps)
    found = RapCommand(system).doctor()
    assert {check["level"] for check in found} == {"ok"}, found


def test_a_terminated_job_is_killed_and_the_others_go_on(
    system: LiveSystem, study: Callable[..., Study], operator: Any, watched: Any
) -> None:
    workspace, starts = watched
    actions = {name: gated(name) for name in FIVE} | {"after": write("after", needs=["job0"])}
    rap = at_their_gates(system.run(study(actions), workspace=workspace), *FIVE)
    doomed, *others = [rap.job_id(name) for name in FIVE]

    operator.terminate(rap.job_workflow_id("job0"))
    job = rap.wait_for("job0", "killed_by_admin")
    assert (job["status"], job["status_code"], job["status_message"]) == KILLED
    assert are_gone(system, [doomed])
    assert not any(are_gone(system, [other]) for other in others)
    open_gates(rap, *FIVE[1:])
    assert codes(rap) == {
        "job0": "killed_by_admin",
        "after": "dependency_failed",
        **dict.fromkeys(FIVE[1:], "succeeded"),
    }
    assert starts.once_removed([doomed, *others]) == dict.fromkeys([doomed, *others], 1)
    all_is_well(system, rap)


def test_a_terminated_raps_jobs_are_killed_and_nobody_else_is_disturbed(
    system: LiveSystem, study: Callable[..., Study], operator: Any, watched: Any
) -> None:
    workspace, starts = watched
    actions = {name: gated(name) for name in FIVE[:3]} | {"after": write("after", needs=["job0"])}
    doomed = at_their_gates(system.run(study(actions), workspace=workspace), *FIVE[:3])
    other = system.run(study({name: gated(name) for name in FIVE[3:]}))
    at_their_gates(other, *FIVE[3:])
    its_workspace = ids.workspace_workflow_id(BACKEND, other.workspace)

    operator.terminate(doomed.workflow_id)
    operator.terminate(its_workspace)
    job_ids = [doomed.job_id(name) for name in FIVE[:3]]
    eventually(lambda: are_gone(system, job_ids), "its containers are gone")
    over = doomed.wait_until_over()
    assert {
        (job["status"], job["status_code"], job["status_message"]) for job in over.values()
    } == {KILLED}
    assert starts.once_removed(job_ids) == dict.fromkeys(job_ids, 1)
    # Nobody has asked anything of the other's workspace.
    eventually(lambda: operator.runs(its_workspace), "the workspace is back")
    assert {job["status"] for job in other.jobs().values()} == {"running"}

    again = system.run(study({"job0": write("job0")}), workspace=workspace)
    assert codes(again) == {"job0": "succeeded"}
    open_gates(other, *FIVE[3:])
    assert set(codes(other).values()) == {"succeeded"}
    assert doomed.jobs() == over
    all_is_well(system, doomed, other, again)


def test_a_terminated_workspace_comes_back_and_tells_who_waits(
    system: LiveSystem, study: Callable[..., Study], operator: Any, watched: Any
) -> None:
    workspace, starts = watched
    asked_for = study({name: gated(name) for name in FIVE})
    first = at_their_gates(system.run(asked_for, workspace=workspace), *FIVE)
    needs = study({"job0": gated("job0"), "after": write("after", needs=["job0"])})
    second = system.run(needs, "after", workspace=workspace)
    assert second.wait_for("after", "waiting_on_dependencies")
    assert set(second.jobs()) == {"after"}

    operator.terminate(ids.workspace_workflow_id(BACKEND, workspace))
    assert {job["status"] for job in first.jobs().values()} == {"running"}
    open_gates(first, *FIVE)
    assert set(codes(first).values()) == {"succeeded"}
    assert codes(second) == {"after": "succeeded"}
    job_ids = [*(first.job_id(name) for name in FIVE), second.job_id("after")]
    assert starts.once_removed(job_ids) == dict.fromkeys(job_ids, 1)
    # It knows again what it was asked for.
    repeated = system.create(asked_for, workspace=workspace, rap_id=first.rap_id)
    assert (repeated.status_code, repeated.json()["result"]) == (200, "No change")
    all_is_well(system, first, second)


@pytest.mark.parametrize("controller", ["lives", "starts"])
def test_a_terminated_backend_comes_back_as_it_was_and_starts_nothing_twice(
    system: LiveSystem, study: Callable[..., Study], operator: Any, watched: Any, controller: Any
) -> None:
    workspace, starts = watched
    actions = {name: gated(name) for name in FIVE} | {"waits": write("waits")}
    rap = at_their_gates(system.run(study(actions), workspace=workspace), *FIVE)
    rap.wait_for("waits", "waiting_on_workers")
    operator.pause(on=True)
    rap.wait_for("waits", "paused")

    operator.terminate(THE_BACKEND)
    # While nobody is there to take its slot back.
    rap.open_gate("job0")
    if controller == "lives":
        rap.wait_for("job0", "succeeded")
    else:
        system.stack[CONTROLLER].kill()
        assert rap.jobs()["waits"]["status_code"] == "paused"
        system.stack.restart(CONTROLLER)
    eventually(lambda: operator.runs(THE_BACKEND), "the backend is back")
    rap.wait_for("job0", "succeeded")
    state = eventually(lambda: with_slots(operator, 4), "it knows what runs")
    assert state["paused"]
    assert state["orders"][-1]["why"] == WHY
    assert {slot["job_id"] for slot in state["slots"]} == {rap.job_id(name) for name in FIVE[1:]}
    assert [entry["job_id"] for entry in state["queue"]] == [rap.job_id("waits")]
    assert rap.jobs()["waits"]["status_code"] == "paused"

    operator.pause(on=False)
    open_gates(rap, *FIVE[1:])
    assert set(codes(rap).values()) == {"succeeded"}
    job_ids = [rap.job_id(name) for name in actions]
    assert starts.once_removed(job_ids) == dict.fromkeys(job_ids, 1)
    all_is_well(system, rap)


def with_slots(operator: Any, number: Any) -> Any:
    state = operator.state()
    return state if len(state["slots"] or ()) == number else None
