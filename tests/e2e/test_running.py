"""What job-server sees of RAPs that run as they should, and what they leave on the backend."""

import csv
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from infra.images.build import EHRQL
from rap.sentences import SUCCEEDED_WITH_EXCLUDED_FILES
from tests.support.live_system import (
    LiveSystem,
    Study,
    action,
    eventually,
    gated,
    shell,
    watching,
    write,
)

pytestmark = pytest.mark.e2e

MEMBERS = {
    "identifier",
    "rap_id",
    "backend",
    "action",
    "run_command",
    "status",
    "status_code",
    "status_message",
    "created_at",
    "updated_at",
    "started_at",
    "completed_at",
    "trace_context",
    "metrics",
    "requires_db",
}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.mark.spec(
    "rap-api:60",
    "rap-api:92",
    "rap-api:95",
    "rap-api:98",
    "rap-api:99",
    "rap-api:100",
    "rap-api:115",
    "rap-api:116",
)
def test_a_rap_from_its_request_to_its_outputs(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    actions = {
        "slow": gated("slow"),
        "copy": shell(
            "cat output/slow.txt > output/copy.txt", needs=["slow"], copy="output/copy.txt"
        ),
    }
    rap = system.run(study(actions), "copy")
    assert rap.count == 2
    at_once = rap.jobs()
    assert set(at_once) == set(actions)
    assert {job["status"] for job in at_once.values()} <= {"pending", "running"}
    assert rap.wait_for("copy", "waiting_on_dependencies")["status_message"] == (
        "Waiting on dependencies (slow)"
    )

    container = rap.running_container("slow")
    running = rap.wait_for("slow", "executing")
    assert running["status"] == "running"
    assert running["status_message"] == "Job executing on the backend"
    # Not every engine can measure a container.
    measured = bool(container.stats(stream=False)["memory_stats"])
    if measured:
        sample = system.folder / "state" / "usage" / f"{rap.job_id('slow')}.json"
        eventually(sample.exists, "the job is measured")
    rap.open_gate("slow")
    jobs = rap.wait_until_over()

    for job in jobs.values():
        assert set(job) == MEMBERS
        assert (job["status"], job["status_message"]) == ("succeeded", "Completed successfully")
        for name in ("created_at", "started_at", "updated_at", "completed_at"):
            assert MOMENT.fullmatch(job[name])
        assert job["created_at"] <= job["started_at"] <= job["completed_at"]
    assert jobs["slow"]["started_at"] == running["started_at"]
    assert bool(jobs["slow"]["metrics"]) is measured
    assert rap.jobs() == jobs
    workspace = system.high_privacy / "workspaces" / rap.workspace
    assert (workspace / "output" / "copy.txt").read_text() == "slow\n"
    assert system.left_over([job["identifier"] for job in jobs.values()]) == []


@pytest.mark.spec("rap-api:71", "rap-api:72", "rap-api:74", "controller:47")
def test_what_has_succeeded_is_not_run_again_unless_it_is_named(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    actions = {
        "base": write("base"),
        "wrong": shell("exit 1", needs=["base"]),
        "after_wrong": write("after_wrong", needs=["wrong"]),
        "leaf": write("leaf", needs=["base"]),
        "new": write("new"),
    }
    five = study(actions)
    first = system.run(five, "after_wrong", "leaf")
    assert first.wait_until_over()["wrong"]["status_code"] == "nonzero_exit"

    def run(*names: Any) -> Any:
        rap = system.run(five, *names, workspace=first.workspace)
        return set(rap.wait_until_over())

    assert run("leaf") == {"leaf"}
    assert run("after_wrong") == {"wrong", "after_wrong"}
    assert run("run_all") == {"wrong", "after_wrong", "new"}


@pytest.mark.spec("rap-api:102", "agent:118", "controller:122")
def test_files_that_may_not_be_reviewed_are_kept_back(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    actions = {
        "tables": shell(
            "mkdir output; echo age > output/good.csv; echo patient_id > output/bad.csv",
            level="moderately_sensitive",
            tables="output/*.csv",
        ),
        "secret": write("secret"),
    }
    rap = system.run(study(actions))
    job = rap.wait_until_over()["tables"]
    assert (job["status_code"], job["status_message"]) == (
        "succeeded",
        SUCCEEDED_WITH_EXCLUDED_FILES,
    )
    high = system.high_privacy / "workspaces" / rap.workspace / "output"
    medium = system.medium_privacy / "workspaces" / rap.workspace / "output"
    assert {path.name for path in high.iterdir()} == {"good.csv", "bad.csv", "secret.txt"}
    assert {path.name for path in medium.iterdir()} == {"good.csv", "bad.csv.txt"}
    manifest = json.loads((medium.parent / "metadata" / "manifest.json").read_text())
    excluded = {name: entry["excluded"] for name, entry in manifest["outputs"].items()}
    assert excluded["output/bad.csv"] is True
    assert excluded["output/good.csv"] is False


@pytest.mark.spec("agent:107", "agent:117")
def test_a_container_killed_by_hand_is_told_as_such(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    rap = system.run(study({"slow": gated("slow")}))
    rap.running_container("slow").kill()
    job = rap.wait_until_over()["slow"]
    assert (job["status_code"], job["status_message"]) == (
        "nonzero_exit",
        "Job exited with an error: Job killed by OpenSAFELY admin or memory limits",
    )
    assert system.metadata(rap.job_id("slow"))["exit_code"] == "137"
    for log in (
        system.job_folder(rap.job_id("slow")) / "logs.txt",
        system.high_privacy / "workspaces" / rap.workspace / "metadata" / "slow.log",
        system.medium_privacy / "workspaces" / rap.workspace / "metadata" / "slow.log",
    ):
        assert "waiting" in log.read_text()


@pytest.mark.spec("agent:92", "rap-api:97")
def test_a_database_job_on_a_backend_with_dummy_data_has_no_network(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    extract = action(
        "generate-dataset",
        "analysis/dataset.py",
        "--output",
        "output/dataset.csv",
        image=EHRQL.rpartition("/")[2],
        dataset="output/dataset.csv",
    )
    files = {"analysis/dataset.py": "dataset.age = 1\ndataset.sex = 2\n"}
    rap = system.run(study({"extract": extract, "other": write("other")}, files))
    jobs = rap.wait_until_over()
    assert {job["status_code"] for job in jobs.values()} == {"succeeded"}
    assert jobs["extract"]["requires_db"] is True
    assert jobs["other"]["requires_db"] is False
    container = system.metadata(rap.job_id("extract"))["container_metadata"]
    assert container["HostConfig"]["NetworkMode"] == "none"
    assert not any(entry.startswith("DATABASE_URL=") for entry in container["Config"]["Env"])
    dataset = system.high_privacy / "workspaces" / rap.workspace / "output" / "dataset.csv"
    with dataset.open() as file:
        assert csv.DictReader(file).fieldnames == ["patient_id", "age", "sex"]


@pytest.mark.spec("rap-api:52")
def test_the_agents_sign_of_life_is_shown(system: LiveSystem) -> None:
    answer = system.request("GET", "backend/status/")
    (backend,) = answer.json()["backends"]
    assert backend["slug"] == "test"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", backend["last_seen"])


def test_raps_of_several_workspaces_run_beside_each_other(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    """More jobs than workers: each runs once, and all end."""
    three = study({"a": write("a"), "b": write("b", needs=["a"]), "c": write("c")})
    raps = [system.run(three) for _ in range(3)]
    with watching(raps[0].workspace) as starts:
        for rap in raps:
            assert {job["status"] for job in rap.wait_until_over().values()} == {"succeeded"}
    for job_id, count in starts.counts.items():
        assert count == 1, job_id
