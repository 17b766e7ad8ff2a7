"""What a process needs is not there: it says so once, waits, and goes on by itself."""

import pytest
from testcontainers.core.config import get_docker_socket

from infra.local_system import AGENT, API, CONTROLLER
from rap import ids
from tests.support.live_system import eventually, write

pytestmark = pytest.mark.e2e

TEMPORAL = "temporal"


@pytest.mark.spec("rap-api:88")
def test_without_temporal_reads_are_answered_and_everybody_waits_for_it(new_system, study):
    system = new_system(RAP_API_TIMEOUT="5")
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


def test_without_docker_the_agent_waits_and_the_jobs_say_why_they_do(new_system, study, tmp_path):
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


def test_an_agent_with_a_setting_to_be_mended_names_it_and_ends(new_system):
    system = new_system(BACKEND="nowhere")
    system.start_some(AGENT)
    process = system.stack[AGENT].process
    assert eventually(lambda: process.poll() is not None, "the agent ends")
    assert process.returncode == 2
    assert system.log(AGENT) == "BACKEND nowhere is not valid, allowed backends are: test\n"
