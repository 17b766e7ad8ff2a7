"""Processes are killed while jobs run: nothing is lost, and nothing is done twice."""

import os
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.local_system import AGENT, API, CONTROLLER
from tests.support.live_system import LiveSystem, Study, gated, shell, watching, write

pytestmark = [pytest.mark.e2e, pytest.mark.chaos]

TEMPORAL = "temporal"


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, images: None) -> Iterator[LiveSystem]:
    """One system for all tests of this module; each leaves it running."""
    system = LiveSystem(tmp_path_factory.mktemp("kills"))
    try:
        system.start()
        yield system
    finally:
        system.end()


@pytest.fixture
def fragile(standing: LiveSystem) -> Iterator[LiveSystem]:
    yield standing
    standing.restart_the_dead()


@pytest.mark.spec("agent:36")
def test_a_killed_agent_finds_its_container_again(
    fragile: LiveSystem, study: Callable[..., Study]
) -> None:
    system = fragile
    rap = system.run(study({"slow": gated("slow"), "after": write("after", needs=["slow"])}))
    with watching(rap.workspace) as starts:
        before = rap.running_container("slow")
        system.stack[AGENT].kill()
        system.stack.restart(AGENT)
        system.logged(AGENT, "handed back what the agent was doing when it died")
        rap.open_gate("slow")
        jobs = rap.wait_until_over()

        assert {name: job["status_code"] for name, job in jobs.items()} == {
            "slow": "succeeded",
            "after": "succeeded",
        }
        job_ids = [rap.job_id("slow"), rap.job_id("after")]
        assert starts.once_removed(job_ids) == dict.fromkeys(job_ids, 1)
    record = system.metadata(rap.job_id("slow"))
    assert record["container_metadata"]["Id"] == before.id
    assert record["task_id"] == f"{rap.job_id('slow')}-001"
    assert system.left_over(job_ids) == []


@pytest.mark.spec("agent:36")
def test_a_job_that_ends_while_its_agent_is_dead_is_not_run_again(
    fragile: LiveSystem, study: Callable[..., Study]
) -> None:
    system = fragile
    rap = system.run(study({"slow": gated("slow")}))
    with watching(rap.workspace) as starts:
        container = rap.running_container("slow")
        system.stack[AGENT].kill()
        rap.open_gate("slow")
        container.wait()
        system.stack.restart(AGENT)

        assert rap.wait_until_over()["slow"]["status_code"] == "succeeded"
        assert starts.once_removed([rap.job_id("slow")]) == {rap.job_id("slow"): 1}
    assert system.metadata(rap.job_id("slow"))["container_metadata"]["Id"] == container.id
    assert system.left_over([rap.job_id("slow")]) == []


@pytest.mark.spec("agent:36")
def test_an_agent_told_to_end_leaves_the_container_to_its_successor(
    fragile: LiveSystem, study: Callable[..., Study]
) -> None:
    system = fragile
    rap = system.run(study({"slow": gated("slow")}))
    with watching(rap.workspace) as starts:
        container = rap.running_container("slow")
        assert system.agent_ends() == 0
        container.reload()
        assert container.status == "running"
        system.stack.restart(AGENT)
        rap.open_gate("slow")

        assert rap.wait_until_over()["slow"]["status_code"] == "succeeded"
        assert starts.once_removed([rap.job_id("slow")]) == {rap.job_id("slow"): 1}
    assert system.metadata(rap.job_id("slow"))["container_metadata"]["Id"] == container.id
    assert system.left_over([rap.job_id("slow")]) == []


def test_controller_temporal_and_agent_may_be_killed_at_any_moment(
    fragile: LiveSystem, study: Callable[..., Study]
) -> None:
    system = fragile
    seed = int(os.environ.get("RAP_TEST_SEED") or random.randrange(1_000_000))
    print(f"RAP_TEST_SEED={seed}")
    dice = random.Random(seed)
    victims = [CONTROLLER, TEMPORAL, AGENT]
    victims.append(dice.choice(victims))
    dice.shuffle(victims)
    actions = {"first": _second("first")}
    for number in range(4):
        actions[f"middle{number}"] = _second(f"middle{number}", needs=["first"])
    actions["gate"] = gated("gate", needs=["middle0", "middle3"])
    actions["last"] = _second("last", needs=["gate", "middle1", "middle2"])
    rap = system.run(study(actions))
    job_ids = [rap.job_id(action) for action in actions]
    with watching(rap.workspace) as starts:
        for victim in victims:
            # The moments are the point of this test.
            time.sleep(dice.uniform(0, 3))
            print(f"killing {victim}: {_codes(rap.jobs())}")
            system.stack[victim].kill()
            time.sleep(dice.uniform(0, 1))
            assert len(rap.jobs()) == len(actions)
            system.stack.restart(victim)
        # So that it cannot be over before the last kill.
        rap.running_container("gate")
        rap.open_gate("gate")
        jobs = rap.wait_until_over(limit=240)

        assert set(_codes(jobs).values()) == {"succeeded"}
        assert starts.once_removed(job_ids) == dict.fromkeys(job_ids, 1)
    assert {system.metadata(job)["task_id"] for job in job_ids} == {f"{job}-001" for job in job_ids}
    assert system.left_over(job_ids) == []


@pytest.mark.spec("rap-api:119")
def test_a_restart_of_everything_changes_nothing_of_what_is_over(
    fragile: LiveSystem, study: Callable[..., Study]
) -> None:
    system = fragile
    done = system.run(study({"good": write("good"), "bad": shell("exit 1")}))
    over = done.wait_until_over()
    rap = system.run(study({"slow": gated("slow")}))
    container = rap.running_container("slow")
    before = rap.wait_for("slow", "executing")

    system.stack[API].kill()
    system.stack.restart(API)
    system.api_answers()
    assert done.jobs() == over
    after = rap.jobs()["slow"]
    assert (after["identifier"], after["status"]) == (before["identifier"], "running")
    assert after["started_at"] == before["started_at"]

    system.stack.stop()
    system.start()
    assert done.jobs() == over
    assert rap.jobs()["slow"]["started_at"] == before["started_at"]
    rap.open_gate("slow")
    assert rap.wait_until_over()["slow"]["status_code"] == "succeeded"
    assert system.metadata(rap.job_id("slow"))["container_metadata"]["Id"] == container.id
    assert done.jobs() == over


def _second(name: str, **options: Any) -> dict[str, Any]:
    return shell(
        f"mkdir -p output && sleep 1 && echo {name} > output/{name}.txt",
        **{name: f"output/{name}.txt"},
        **options,
    )


def _codes(jobs: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {name: job["status_code"] for name, job in jobs.items()}
