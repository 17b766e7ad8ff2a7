"""Dependants read what succeeded jobs of the needed actions have filed, and nothing else."""

from pathlib import Path

import pytest

from tests.support.git_server import StudyRepo
from tests.support.live_system import LiveSystem, Study, container_of

pytestmark = pytest.mark.e2e

CASES = Path(__file__).parents[1] / "cases/jobs"


def test_a_dependant_does_not_start_on_what_a_failed_run_of_another_rap_has_left(
    system: LiveSystem, tmp_path: Path
) -> None:
    repo, case = StudyRepo(tmp_path / "study"), CASES / "input-of-a-failed-rerun"
    first, second = (
        Study(
            repo.url, repo.commit({"project.yaml": (case / f"project-{number}.yaml").read_text()})
        )
        for number in (1, 2)
    )
    rap = system.run(first, "b")
    rap.wait_for("a", "succeeded")
    rap.running_container("slow")
    again = system.run(second, "a", workspace=rap.workspace)
    assert again.wait_until_over()["a"]["status_code"] == "nonzero_exit"
    rap.open_gate("slow")

    job = rap.wait_until_over()["b"]
    assert (job["status"], job["status_code"]) == ("failed", "job_error")
    assert job["status_message"] == (
        "This job returned a fatal error. An input made by a was replaced by another job since; "
        "please run a again. See job log for details."
    )
    assert container_of(rap.job_id("b")) is None
    (file,) = system.metadata(rap.job_id("b"))["replaced_inputs"]
    assert (file["name"], file["job_id"]) == ("output/d.txt", rap.job_id("a"))
    assert (file["found"]["job_id"], file["found"]["action"]) == (again.job_id("a"), "a")
    for privacy in (system.high_privacy, system.medium_privacy):
        log = (privacy / "workspaces" / rap.workspace / "metadata/b.log").read_text()
        assert "output/d.txt" in log
        assert file["found_sha256"] in log
    assert not (system.high_privacy / "workspaces" / rap.workspace / "output/b.txt").exists()
