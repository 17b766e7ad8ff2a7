"""``rap agent …`` on the host of a whole system: real containers, agent down or up."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.local_system import AGENT
from tests.support.live_system import LiveSystem, Rap, Study, container_of, eventually, gated
from worker_agent.state.attempts import AttemptState

pytestmark = pytest.mark.e2e

RAP_COMMAND = Path(sys.executable).parent / "rap"
KILLED = ("failed", "killed_by_admin", "Job killed by an OpenSAFELY administrator")


def rap_agent(
    system: LiveSystem, *arguments: str, answers: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the installed command as an operator does, with the agent's own settings."""
    return subprocess.run(
        [RAP_COMMAND, "agent", *arguments],
        env={**os.environ, **system.env},
        input=answers,
        capture_output=True,
        text=True,
        timeout=60,
    )


def is_killed(rap: Rap, action: str) -> None:
    job = rap.wait_for(action, "killed_by_admin")
    assert (job["status"], job["status_code"], job["status_message"]) == KILLED
    system, job_id = rap.system, rap.job_id(action)
    eventually(lambda: not system.left_over([job_id]), "nothing is left of the job")
    record = system.metadata(job_id)
    assert record["status_message"] == "Job killed by an OpenSAFELY administrator"
    assert (record["cancelled"], record["exit_code"], record["outputs"]) == (True, "137", {})
    assert "waiting" in (system.job_folder(job_id) / "logs.txt").read_text()


def test_a_job_killed_on_its_host_is_killed_by_admin_and_its_neighbour_goes_on(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    rap = system.run(study({"doomed": gated("doomed"), "other": gated("other")}))
    rap.running_container("doomed")
    other = rap.running_container("other")
    doomed = rap.job_id("doomed")
    rap.wait_for("doomed", "executing")

    done = rap_agent(system, "kill", doomed)
    assert (done.returncode, done.stdout) == (0, f"Task for job {doomed} killed.\n"), done.stderr
    is_killed(rap, "doomed")
    other.reload()
    assert other.status == "running"
    rap.open_gate("other")
    assert rap.wait_until_over()["other"]["status_code"] == "succeeded"


def test_a_job_killed_while_the_agent_is_down_is_killed_by_admin_once_it_is_back(
    new_system: Callable[..., LiveSystem], study: Callable[..., Study]
) -> None:
    system = new_system()
    system.start()
    rap = system.run(study({"doomed": gated("doomed")}))
    rap.running_container("doomed")
    rap.wait_for("doomed", "executing")
    process = system.stack[AGENT].process
    process.kill()
    process.wait()

    done = rap_agent(system, "kill", rap.job_id("doomed")[:9], answers="\n")
    assert done.returncode == 0, done.stderr
    assert f"Task for job {rap.job_id('doomed')} killed.\n" in done.stdout
    assert "The agent does not run" in done.stderr
    assert container_of(rap.job_id("doomed")).status == "exited"
    system.restart_the_dead()
    is_killed(rap, "doomed")


def test_a_job_is_watched_and_its_log_read_while_it_runs_and_after(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    rap = system.run(study({"talks": gated("talks")}))
    rap.running_container("talks")
    job_id = rap.job_id("talks")
    (job,) = [
        each
        for each in json.loads(rap_agent(system, "jobs", "--json").stdout)["jobs"]
        if each["job_id"] == job_id
    ]
    assert (job["workspace"], job["action"]) == (rap.workspace, "talks")
    assert job["last_output_at"] is not None
    assert rap_agent(system, "logs", job_id).stdout == "waiting\n"
    rap.open_gate("talks")
    rap.wait_until_over()
    eventually(lambda: container_of(job_id) is None, "the container is gone")
    done = rap_agent(system, "logs", "-f", job_id[:10])
    assert done.stdout == (system.job_folder(job_id) / "logs.txt").read_text()
    assert "status_message: Completed successfully" in done.stdout
    assert done.stderr == f"Job {job_id} has ended; this is its whole log.\n"
    unknown = rap_agent(system, "logs", "nonsense")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "No logs found matching 'nonsense'\n"


def test_a_check_of_a_host_at_work_finds_no_problem(system: LiveSystem) -> None:
    done = rap_agent(system, "check", "--json")
    shown = json.loads(done.stdout)
    found = {each["subject"]: each for each in shown["checks"]}
    problems = [each for each in shown["checks"] if each["level"] == "problem"]
    assert (problems, done.returncode) == ([], 0)
    assert found["agent"]["text"] == "one agent runs"
    assert system.env["TEMPORAL_ADDRESS"] in found["temporal"]["text"]
    assert found["controller"]["text"] == "knows backend test"
    stranger = {**system.env, "TEMPORAL_NAMESPACE": "nowhere"}
    done = subprocess.run(
        [RAP_COMMAND, "agent", "check"],
        env={**os.environ, **stranger},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "temporal operator namespace create --namespace nowhere" in done.stdout


def test_a_job_whose_kill_was_only_noted_never_starts(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    """The note alone is what an operator's kill leaves if Docker fails half-way."""
    rap = system.run(study({"first": gated("first"), "doomed": gated("doomed", needs=["first"])}))
    rap.running_container("first")
    AttemptState(system.folder / "state").mark_killed(f"{rap.job_id('doomed')}-001")
    rap.open_gate("first")
    job = rap.wait_for("doomed", "killed_by_admin")
    assert (job["status"], job["status_code"], job["status_message"]) == KILLED
    record = system.metadata(rap.job_id("doomed"))
    assert (record["cancelled"], record["exit_code"]) == (True, "None")
    assert record["status_message"] == "Job killed by an OpenSAFELY administrator"
