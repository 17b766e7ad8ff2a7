"""Cancelling over HTTP, down to the container."""

from collections.abc import Callable

import pytest

from tests.support.live_system import LiveSystem, Study, container_of, eventually, gated, write

pytestmark = pytest.mark.e2e

CANCELLED = ("failed", "cancelled_by_user", "Cancelled by user")


@pytest.mark.spec(
    "rap-api:123", "rap-api:126", "rap-api:128", "rap-api:131", "agent:46", "agent:47"
)
def test_a_running_container_is_stopped_and_the_backend_records_why(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    rap = system.run(study({"doomed": gated("doomed"), "other": gated("other")}))
    rap.running_container("doomed")
    other = rap.running_container("other")
    started = rap.wait_for("doomed", "executing")["started_at"]

    answer = rap.cancel("doomed")
    assert answer.status_code == 200
    assert answer.json() == {"result": "Success", "details": "1 actions cancelled", "count": 1}
    job = rap.wait_for("doomed", "cancelled_by_user")
    assert (job["status"], job["status_code"], job["status_message"]) == CANCELLED
    assert job["started_at"] == started
    assert job["completed_at"] >= started

    job_id = rap.job_id("doomed")
    eventually(lambda: container_of(job_id) is None, "the container is gone", limit=60)
    eventually(lambda: not system.left_over([job_id]), "nothing is left of the job")
    record = system.metadata(job_id)
    assert record["cancelled"] is True
    assert (record["exit_code"], record["status_message"]) == ("137", "Job cancelled by system")
    assert "waiting" in (system.job_folder(job_id) / "logs.txt").read_text()
    workspace = system.high_privacy / "workspaces" / rap.workspace
    assert not (workspace / "metadata" / "doomed.log").exists()
    assert not (workspace / "output").exists()

    again = rap.cancel("doomed")
    assert (again.status_code, again.json()) == (200, answer.json())
    assert rap.jobs()["doomed"] == job
    other.reload()
    assert other.status == "running"
    rap.open_gate("other")
    assert rap.wait_until_over()["other"]["status_code"] == "succeeded"


@pytest.mark.spec("rap-api:125", "rap-api:127", "rap-api:130", "controller:140")
def test_a_waiting_job_is_cancelled_and_its_action_may_run_again(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    actions = {
        "first": gated("first"),
        "second": write("second", needs=["first"]),
        "third": write("third", needs=["second"]),
    }
    chain = study(actions)
    rap = system.run(chain)
    rap.wait_for("second", "waiting_on_dependencies")
    assert rap.cancel("second").status_code == 200
    job = rap.wait_for("second", "cancelled_by_user")
    assert (job["status"], job["status_code"], job["status_message"]) == CANCELLED
    assert job["started_at"] is None
    assert job["completed_at"] is not None
    rap.wait_for("third", "dependency_failed")

    again = system.run(chain, "second", workspace=rap.workspace)
    assert again.count == 1
    rap.running_container("first")
    rap.open_gate("first")
    assert again.wait_until_over()["second"]["status_code"] == "succeeded"
    assert rap.wait_until_over()["second"]["status_code"] == "cancelled_by_user"


@pytest.mark.spec("rap-api:89")
def test_a_rap_can_be_seen_and_cancelled_directly_after_its_create(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    rap = system.run(study({"slow": gated("slow"), "after": write("after", needs=["slow"])}))
    assert set(rap.jobs()) == {"slow", "after"}
    assert rap.cancel("slow").status_code == 200
    jobs = rap.wait_until_over()
    assert jobs["slow"]["status_code"] == "cancelled_by_user"
    assert jobs["after"]["status_code"] == "dependency_failed"
    job_ids = [job["identifier"] for job in jobs.values()]
    eventually(lambda: not system.left_over(job_ids), "nothing is left of the jobs")


@pytest.mark.spec("rap-api:122", "rap-api:129")
def test_a_cancel_that_names_an_unknown_action_cancels_nothing(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    rap = system.run(study({"slow": gated("slow"), "quick": write("quick")}))
    rap.wait_for("quick", "succeeded")
    rap.running_container("slow")
    answer = rap.cancel("zebra", "slow", "ant")
    assert answer.status_code == 404
    assert answer.json() == {
        "error": "jobs not found",
        "details": "Jobs matching requested cancelled actions could not be found: ant,zebra",
        "rap_id": rap.rap_id,
        "not_found": ["ant", "zebra"],
    }
    quick = rap.jobs()["quick"]
    assert rap.cancel("quick").status_code == 200
    rap.open_gate("slow")
    jobs = rap.wait_until_over()
    assert jobs["slow"]["status_code"] == "succeeded"
    assert jobs["quick"] == quick
