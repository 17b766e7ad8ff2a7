"""What a process needs is not there: it says so once, waits, and goes on by itself."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from testcontainers.core.config import get_docker_socket

from infra.local_system import AGENT, API, CONTROLLER
from rap import ids
from tests.docker.wire import wire_in_a_thread
from tests.support.live_system import Job, LiveSystem, Study, eventually, gated, write

pytestmark = pytest.mark.e2e

TEMPORAL = "temporal"


@pytest.mark.spec("rap-api:88")
def test_without_temporal_reads_are_answered_and_everybody_waits_for_it(
    new_system: Callable[..., LiveSystem], study: Callable[..., Study]
) -> None:
    system = new_system(RAP_API_TIMEOUT="22.1")
    system.start_some(CONTROLLER, AGENT, API)
    system.api_answers()
    good = study({"good": write("good")})
    order = {"rap_id": ids.random_rap_id(), "workspace": "patient"}

    answer = system.create(good, **order)
    assert answer.status_code == 503
    assert "json" not in answer.headers["Content-Type"]
    # Neither shown nor called unrecognised: what became of it is not known yet.
    assert system.status(order["rap_id"]) == {"jobs": [], "unrecognised_rap_ids": []}
    (backend,) = system.request("GET", "backend/status/").json()["backends"]
    assert (backend["slug"], backend["last_seen"]) == ("test", None)
    sentence = f"Temporal does not answer at {system.server.address}. Start it"
    for name in (CONTROLLER, AGENT):
        system.logged(name, sentence)

    system.start_some(TEMPORAL)
    system.wait_until_ready()
    rap = system.run(good, **order)
    assert rap.wait_until_over()["good"]["status_code"] == "succeeded"
    for name in (CONTROLLER, AGENT):
        assert system.log(name).count("Temporal does not answer") == 1
        assert "Traceback" not in system.log(name)


def test_without_docker_the_agent_waits_and_the_jobs_say_why_they_do(
    new_system: Callable[..., LiveSystem], study: Callable[..., Study], tmp_path: Path
) -> None:
    socket = tmp_path / "docker.sock"
    system = new_system(DOCKER_HOST=f"unix://{socket}")
    system.start_some(TEMPORAL, CONTROLLER, AGENT, API)
    system.api_answers()
    system.logged(AGENT, "Docker does not answer, waiting for it")
    system.logged(CONTROLLER, "controller.service started")

    rap = system.run(study({"good": write("good")}))
    job = rap.wait_for("good", "waiting_on_workers")
    assert job["status"] == "pending"
    told = rap.wait(lambda jobs: "no agent" in jobs["good"]["status_message"], "told of no agent")
    assert told["good"]["status_message"] == (
        "Waiting on available workers (no agent of the backend is connected)"
    )

    socket.symlink_to(get_docker_socket())
    assert rap.wait_until_over()["good"]["status_code"] == "succeeded"
    assert system.log(AGENT).count("Docker does not answer") == 1
    assert "Traceback" not in system.log(AGENT)


def test_jobs_wait_for_a_docker_that_goes_away_and_all_succeed_once_it_is_back(
    new_system: Callable[..., LiveSystem], study: Callable[..., Study], tmp_path: Path
) -> None:
    socket = tmp_path / "docker.sock"
    with wire_in_a_thread(socket, get_docker_socket()) as line:
        system = new_system(DOCKER_HOST=f"unix://{socket}")
        system.start()
        early = system.run(study({"early": gated("early")}))
        early.running_container("early")
        line("cut")
        late = system.run(study({f"late{n}": write(f"late{n}") for n in range(5)}))

        def all_know_why(jobs: dict[str, Job]) -> bool:
            why = "the backend cannot start it now: its container engine does not answer"
            return all(why in job["status_message"] for job in jobs.values())

        late.wait(all_know_why, "told of the engine")
        # Longer than a job that has not begun is tried in place.
        time.sleep(20)
        assert {job["status"] for job in late.jobs().values()} == {"pending"}
        early.open_gate("early")
        line("mend")
        for rap in (early, late):
            jobs = rap.wait_until_over()
            assert {job["status_code"] for job in jobs.values()} == {"succeeded"}
        # Each was waited for where it was, or handed out once more: none used up its attempts.
        attempts = {
            name: system.metadata(rap.job_id(name))["task_id"][-3:]
            for rap in (early, late)
            for name in rap.jobs()
        }
        assert attempts["early"] == "001"
        assert {*attempts.values()} <= {"001", "002"}
        system.end()


def test_an_agent_with_a_setting_to_be_mended_names_it_and_ends(
    new_system: Callable[..., LiveSystem],
) -> None:
    system = new_system(BACKEND="nowhere")
    system.start_some(AGENT)
    process = system.stack[AGENT].process
    assert eventually(lambda: process.poll() is not None, "the agent ends")
    assert process.returncode == 2
    assert system.log(AGENT) == "BACKEND nowhere is not valid, allowed backends are: test\n"
