"""``rap agent …`` on the host of a whole system: real containers, agent down or up."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local_system import AGENT
from tests.support.live_system import LiveSystem, Rap, container_of, eventually, gated

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


def test_a_job_killed_on_its_host_is_killed_by_admin_and_its_neighbour_goes_on(system, study):
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
    new_system, study
):
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
