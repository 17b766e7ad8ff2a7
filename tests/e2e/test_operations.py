"""Operating a backend while real jobs run: pause, maintenance, reboot, the loss of a host.

Every order is given twice: with Temporal's own command alone, and with ours.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local_system import AGENT
from infra.processes import Service
from tests.support.live_system import (
    LiveSystem,
    Study,
    container_of,
    eventually,
    gated,
    watching,
    write,
)
from tests.support.operators import RapCommand, TemporalCommand, are_gone, nothing_is_left

pytestmark = pytest.mark.e2e

PAUSED = "Backend is currently paused for maintenance, job will start once this is completed"
MAINTENANCE = "Waiting for database to finish maintenance"
REBOOT = "Job restarted - waiting for server to reboot"
WORKERS = {"TEST_MAX_WORKERS": "5", "TEST_MAX_DB_WORKERS": "1"}


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, images: None) -> Iterator[LiveSystem]:
    """One system for all tests of this module; each leaves it at work and without orders."""
    system = LiveSystem(tmp_path_factory.mktemp("operations"), overrides=WORKERS)
    try:
        system.start()
        yield system
    finally:
        system.end()


@pytest.fixture(params=[TemporalCommand, RapCommand], ids=["temporal", "rap"])
def operator(
    request: pytest.FixtureRequest, system: LiveSystem
) -> Iterator[RapCommand | TemporalCommand]:
    yield request.param(system)
    look = TemporalCommand(system)
    look.pause(on=False)
    look.maintenance(on=False)
    look.limits()


@pytest.fixture
def look(system: LiveSystem) -> TemporalCommand:
    return TemporalCommand(system)


@pytest.mark.spec("controller:149", "controller:151", "controller:155")
def test_a_paused_backend_finishes_what_runs_and_starts_nothing(
    system: LiveSystem,
    study: Callable[..., Study],
    operator: RapCommand | TemporalCommand,
    look: TemporalCommand,
) -> None:
    look.limits(max_workers=2)
    actions = {
        "one": gated("one"),
        "two": gated("two"),
        "waits": write("waits"),
        "after": write("after", needs=["one"]),
    }
    rap = system.run(study(actions))
    other = study({"late": write("late")})
    with watching(rap.workspace) as starts:
        rap.running_container("one")
        rap.running_container("two")
        rap.wait_for("waits", "waiting_on_workers")

        operator.pause(on=True)
        waits = rap.wait_for("waits", "paused")
        assert (waits["status"], waits["started_at"]) == ("pending", None)
        assert waits["status_message"].startswith(PAUSED)
        assert rap.jobs()["after"]["status_code"] == "paused"
        assert {rap.jobs()[name]["status"] for name in ("one", "two")} == {"running"}
        late = system.run(other)
        late.wait_for("late", "paused")

        rap.open_gate("one")
        rap.open_gate("two")
        rap.wait_for("one", "succeeded")
        rap.wait_for("two", "succeeded")
        # Free slots and a dependency that has succeeded make no difference.
        eventually(lambda: not look.state()["slots"], "the slots are free")
        assert len(look.state()["queue"]) == 3
        assert {rap.jobs()[name]["status_code"] for name in ("waits", "after")} == {"paused"}

        operator.pause(on=False)
        over = rap.wait_until_over() | late.wait_until_over()
        assert {job["status_code"] for job in over.values()} == {"succeeded"}
        job_ids = [rap.job_id(name) for name in actions]
        assert starts.once_removed(job_ids) == dict.fromkeys(job_ids, 1)
    nothing_is_left(system, rap, late)


@pytest.mark.spec("controller:156", "controller:157", "controller:158", "controller:160")
def test_maintenance_by_hand_stops_and_requeues_database_jobs_only(
    system: LiveSystem,
    study: Callable[..., Study],
    operator: RapCommand | TemporalCommand,
    database_image: str,
) -> None:
    actions = {
        "data": gated("data", image=database_image),
        "next": write("next", image=database_image),
        "plain": gated("plain"),
    }
    rap = system.run(study(actions))
    with watching(rap.workspace) as starts:
        rap.running_container("data")
        plain = rap.running_container("plain")
        rap.wait_for("next", "waiting_on_db_workers")

        operator.maintenance(on=True)
        for name in ("data", "next"):
            job = rap.wait_for(name, "waiting_db_maintenance")
            assert (job["status"], job["started_at"]) == ("pending", None)
            assert job["status_message"].startswith(MAINTENANCE)
        eventually(lambda: are_gone(system, [rap.job_id("data")]), "the database job is gone")
        plain.reload()
        assert plain.status == "running"
        # Nobody but database jobs waits for the end of maintenance.
        later = system.run(study({"later": write("later")}))
        later.wait_for("later", "succeeded")
        rap.open_gate("plain")
        rap.wait_for("plain", "succeeded")
        assert {rap.jobs()[name]["status_code"] for name in ("data", "next")} == {
            "waiting_db_maintenance"
        }

        operator.maintenance(on=False)
        rap.running_container("data")
        rap.open_gate("data")
        over = rap.wait_until_over()
        assert {job["status_code"] for job in over.values()} == {"succeeded"}
        data, *others = [rap.job_id(name) for name in actions]
        assert starts.once_removed([data, *others]) == {data: 2} | dict.fromkeys(others, 1)
    assert system.metadata(data)["task_id"] == f"{data}-002"
    nothing_is_left(system, rap, later)


@pytest.mark.spec("controller:178", "controller:181")
def test_a_reboot_interrupts_five_jobs_and_each_runs_again_once(
    system: LiveSystem,
    study: Callable[..., Study],
    operator: TemporalCommand,
    look: TemporalCommand,
) -> None:
    actions = {f"job{number}": gated(f"job{number}") for number in range(5)}
    actions["waits"] = write("waits")
    rap = system.run(study(actions))
    running = [rap.job_id(f"job{number}") for number in range(5)]
    with watching(rap.workspace) as starts:
        for number in range(5):
            rap.running_container(f"job{number}")
        rap.wait_for("waits", "waiting_on_workers")

        operator.prepare_for_reboot()
        eventually(operator.is_safe_to_reboot, "it is safe to reboot")
        assert are_gone(system, running)
        jobs = rap.wait(
            lambda jobs: (
                [jobs[f"job{n}"]["status_code"] for n in range(5)] == ["waiting_on_reboot"] * 5
            ),
            "the five wait",
        )
        assert jobs["waits"]["status_code"] == "paused"
        for number in range(5):
            job = jobs[f"job{number}"]
            assert (job["status"], job["started_at"]) == ("pending", None)
            assert job["status_message"].startswith(REBOOT)

        # The reboot, as far as the agent notices.
        assert system.agent_ends() == 0
        system.stack.restart(AGENT)
        assert look.state()["paused"]
        assert starts.counts == dict.fromkeys(running, 1)

        operator.pause(on=False)
        for number in range(5):
            rap.running_container(f"job{number}")
            rap.open_gate(f"job{number}")
        over = rap.wait_until_over()
        assert {job["status_code"] for job in over.values()} == {"succeeded"}
        waits = rap.job_id("waits")
        counts = starts.once_removed([*running, waits])
        assert counts == dict.fromkeys(running, 2) | {waits: 1}
    assert {system.metadata(job)["task_id"] for job in running} == {f"{job}-002" for job in running}
    nothing_is_left(system, rap)


@pytest.fixture
def second_host(system: LiveSystem, tmp_path: Path) -> Iterator[Any]:
    """A second agent of the backend, with folders of its own; the first is there again at the end.

    Its system is the first as seen from that host: it finds the jobs that run there.
    """
    name = "second"
    host = replace(system, folder=tmp_path / name, overrides={**WORKERS, "AGENT_HOST": name})
    env = {**host.env, "TEMPORAL_ADDRESS": system.env["TEMPORAL_ADDRESS"]}
    log = system.logs / f"{name}.log"
    command = (sys.executable, "-m", "worker_agent")
    system.stack.add(Service(name, command, env, log_path=log))
    yield host
    if system.stack[name].process is not None:
        system.stack[name].stop()
    look = TemporalCommand(system)
    look.host_lost(name)
    if system.stack[AGENT].process is None:
        system.stack.restart(AGENT)
    eventually(lambda: hosts(look) == {"main"}, "the first agent alone is seen")


def hosts(look: Any) -> Any:
    # The command shows an empty list as null.
    return {agent["host"] for agent in look.state()["agents"] or ()}


def test_a_lost_hosts_jobs_run_again_on_another(
    system: LiveSystem,
    study: Callable[..., Study],
    operator: RapCommand | TemporalCommand,
    second_host: Any,
) -> None:
    actions = {f"job{number}": gated(f"job{number}") for number in range(2)}
    rap = system.run(study(actions))
    job_ids = [rap.job_id(name) for name in actions]
    with watching(rap.workspace) as starts:
        lost = [rap.running_container(name) for name in actions]
        rap.wait(lambda jobs: {job["status_code"] for job in jobs.values()} == {"executing"}, "run")
        system.stack[AGENT].kill()
        system.stack.restart("second")
        look = TemporalCommand(system)
        eventually(lambda: hosts(look) == {"main", "second"}, "the second agent is seen")
        # Nobody starts a job elsewhere while its container may still run.
        assert {slot["host"] for slot in look.state()["slots"]} == {"main"}
        for container in lost:
            container.remove(force=True)

        operator.host_lost("main")
        for name in actions:
            rap.running_container(name)
            second_host.open_gate(rap.job_id(name))
        over = rap.wait_until_over()
        assert {job["status_code"] for job in over.values()} == {"succeeded"}
        assert starts.once_removed(job_ids) == dict.fromkeys(job_ids, 2)
    assert {second_host.metadata(job)["task_id"] for job in job_ids} == {
        f"{job}-002" for job in job_ids
    }
    assert second_host.left_over(job_ids) == []
    assert all(container_of(job) is None for job in job_ids)

    # It was not lost after all: it clears away what it had left.
    assert system.left_over(job_ids) != []
    system.stack.restart(AGENT)
    eventually(lambda: not system.left_over(job_ids), "the host has cleared away what it had left")
    nothing_is_left(system, rap)
