"""What people get wrong: each gets a clear sentence, and nobody else notices."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rap import ids
from rap.egress import Fault
from rap.sentences import DATABASE_EXIT_CODES, FAULT_SENTENCES
from tests.support.live_system import (
    FINAL,
    LiveSystem,
    Rap,
    Study,
    action,
    gated,
    make_study,
    shell,
    write,
)

pytestmark = pytest.mark.e2e

LIMIT_REACHED = "Job ran out of memory (limit was 0.12GB)"
POSTS = ("rap/create/", "rap/cancel/", "rap/status/")


@pytest.fixture(scope="module", autouse=True)
def bystander(system: LiveSystem, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A RAP of somebody else that runs all the while, and must not notice."""
    folder = tmp_path_factory.mktemp("bystander")
    actions = {"slow": gated("slow"), "after": write("after", needs=["slow"])}
    rap = system.run(make_study(folder / "study", actions))
    rap.running_container("slow")
    before = rap.wait_for("slow", "executing")
    yield
    assert rap.jobs()["slow"]["started_at"] == before["started_at"]
    rap.open_gate("slow")
    assert {job["status_code"] for job in rap.wait_until_over().values()} == {"succeeded"}


# --- requests that are refused ---


def refused(system: LiveSystem, study: Study, *actions: str, **changes: Any) -> dict[str, str]:
    """Ask for a RAP that is refused; the body of the answer. Nothing of it may exist."""
    rap_id = ids.random_rap_id()
    answer = system.create(study, *actions, rap_id=rap_id, **changes)
    assert answer.status_code == 400
    assert system.status(rap_id) == {"jobs": [], "unrecognised_rap_ids": [rap_id]}
    cancel = system.post("rap/cancel/", {"rap_id": rap_id, "actions": ["a"]})
    assert cancel.status_code == 404
    assert cancel.json()["details"] == f"No jobs found for rap_id {rap_id}"
    return answer.json()


@pytest.mark.spec("rap-api:80")
def test_an_unknown_action_is_named(system: LiveSystem, study: Callable[..., Study]) -> None:
    assert refused(system, study({"a": write("a")}), "a", "nope") == {
        "error": "Error creating jobs",
        "details": "Action 'nope' not found in project.yaml",
    }


@pytest.mark.spec("rap-api:84")
def test_a_missing_project_file_is_told_with_its_repository(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    empty = study(None, {"README.md": "nothing"})
    assert refused(system, empty) == {
        "error": "Error creating jobs",
        "details": f"No project.yaml file found in {empty.url}",
    }


@pytest.mark.spec("rap-api:85")
def test_an_invalid_project_file_is_explained(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    body = refused(system, study({"a": write("a", needs=["nowhere"])}))
    assert body == {
        "error": "Error creating jobs",
        "details": "Invalid project: \n"
        "Action `a` references an unknown action in its `needs` list: nowhere",
    }


def test_a_project_file_that_is_not_yaml_is_explained(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    body = refused(system, study(None, {"project.yaml": "actions: [a\nversion: '4.0'\n"}))
    assert body["error"] == "Error creating jobs"
    assert "line" in body["details"]


def test_an_unknown_commit_is_told_with_its_repository(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    known = study({"a": write("a")})
    assert refused(system, known, commit="0" * 40) == {
        "error": "Error creating jobs",
        "details": f"Error fetching commit {'0' * 40} from {known.url}",
    }


@pytest.mark.spec("rap-api:81")
def test_an_impossible_workspace_name_is_refused(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    body = refused(system, study({"a": write("a")}), workspace="a b")
    assert body["details"] == (
        "Invalid workspace name (allowed are alphanumeric, dash and underscore)"
    )


@pytest.mark.spec("rap-api:86", "controller:64")
def test_stale_codelists_stop_an_action_that_reads_the_database(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    extract = action("generate-dataset", "d.py", "--output", "output/out.txt", image="ehrql:v1")
    actions = {"extract": extract, "after": write("after", needs=["extract"]), "a": write("a")}
    three = study(actions)
    body = refused(system, three, "after", codelists_ok=False)
    assert body["details"] == "Codelists are out of date (required by action extract)"
    rap = system.run(three, "a", codelists_ok=False)
    assert rap.wait_until_over()["a"]["status_code"] == "succeeded"


@pytest.mark.spec("rap-api:66", "rap-api:67")
@pytest.mark.parametrize("backend", ["tpp", "nowhere"])
def test_a_backend_that_the_token_does_not_cover_stays_unknown(
    system: LiveSystem, study: Callable[..., Study], backend: str
) -> None:
    body = refused(system, study({"a": write("a")}), backend=backend)
    assert body == {"error": "Error creating jobs", "details": "Unknown error"}


@pytest.mark.spec("rap-api:13", "rap-api:18")
def test_a_bad_token_is_refused_everywhere(system: LiveSystem) -> None:
    answers = [system.request("GET", "backend/status/", token="wrong")]
    answers += [system.request("POST", path, token="wrong", content=b"{") for path in POSTS]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.json() == {"error": "Unauthorized", "details": "Invalid token"}


@pytest.mark.spec("rap-api:22")
@pytest.mark.parametrize("path", POSTS)
def test_malformed_json_is_refused(system: LiveSystem, path: str) -> None:
    answer = system.request("POST", path, content=b"{")
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "Validation error",
        "details": "could not parse JSON from request body",
    }


@pytest.mark.spec("rap-api:61", "rap-api:68", "rap-api:78", "rap-api:79")
def test_a_repeated_create_changes_nothing_and_a_needless_one_leaves_its_id_free(
    system: LiveSystem, study: Callable[..., Study]
) -> None:
    slow = study({"slow": gated("slow")})
    rap = system.run(slow)
    repeat = system.create(slow, rap_id=rap.rap_id, workspace=rap.workspace)
    assert (repeat.status_code, repeat.json()["result"]) == (200, "No change")
    assert repeat.json()["count"] == 1

    other = {"rap_id": ids.random_rap_id(), "workspace": rap.workspace}
    needless = system.create(slow, "slow", **other)
    assert needless.status_code == 200
    assert needless.json() == {
        "result": "Nothing to do",
        "details": "All requested actions were already scheduled to run",
        "rap_id": other["rap_id"],
        "count": 0,
    }
    assert system.status(other["rap_id"])["unrecognised_rap_ids"] == [other["rap_id"]]
    assert system.post("rap/cancel/", {**other, "actions": ["slow"]}).status_code == 404

    rap.running_container("slow")
    rap.open_gate("slow")
    rap.wait_until_over()
    again = system.run(slow, "slow", **other)
    again.running_container("slow")
    again.open_gate("slow")
    assert again.wait_until_over()["slow"]["status"] == "succeeded"


# --- jobs that go wrong ---


@pytest.fixture(scope="module")
def troubled(
    system: LiveSystem, database_image: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Rap, dict[str, dict[str, Any]]]:
    """A RAP with one action for each thing that goes wrong, and one that does not; it is over."""
    actions = {
        "healthy": write("healthy"),
        "exits": shell("mkdir output; echo 1 > output/kept.csv; exit 1", kept="output/*.csv",
                       never="output/*.never"),
        "after_exits": write("after_exits", needs=["exits"]),
        "silent": shell("mkdir output; echo 1 > output/stray.csv",
                        never="output/*.none"),
        "imageless": shell("true", image="python:v987654", none="output/*.txt"),
        "greedy": action("python", "-c", "len(b'x' * 500_000_000)", none="output/*.md"),
        "unlucky": shell("exit 3", image=database_image, none="output/*.html"),
    }  # fmt: skip
    rap = system.run(make_study(tmp_path_factory.mktemp("troubled") / "study", actions))
    return rap, rap.wait_until_over()


def shown(troubled: tuple[Rap, dict[str, dict[str, Any]]], name: str) -> tuple[str, str, str]:
    job = troubled[1][name]
    return job["status"], job["status_code"], job["status_message"]


def test_a_healthy_job_succeeds_beside_those_that_fail(
    troubled: tuple[Rap, dict[str, dict[str, Any]]],
) -> None:
    assert shown(troubled, "healthy") == ("succeeded", "succeeded", "Completed successfully")


@pytest.mark.spec("rap-api:103", "controller:124", "controller:129")
def test_an_action_that_exits_with_an_error_says_so(
    troubled: tuple[Rap, dict[str, dict[str, Any]]],
) -> None:
    assert shown(troubled, "exits") == ("failed", "nonzero_exit", "Job exited with an error")


@pytest.mark.spec("agent:106")
def test_what_an_action_made_before_it_failed_is_kept(
    system: LiveSystem, troubled: tuple[Rap, dict[str, dict[str, Any]]]
) -> None:
    rap, _ = troubled
    record = system.metadata(rap.job_id("exits"))
    assert record["exit_code"] == "1"
    assert record["unmatched_patterns"] == ["output/*.never"]
    assert record["outputs"] == {"output/kept.csv": "highly_sensitive"}
    kept = system.high_privacy / "workspaces" / rap.workspace / "output" / "kept.csv"
    assert kept.read_text() == "1\n"


@pytest.mark.spec("rap-api:107", "controller:97")
def test_what_needs_a_failed_action_does_not_start(
    troubled: tuple[Rap, dict[str, dict[str, Any]]],
) -> None:
    expected = ("failed", "dependency_failed", "Not starting as dependency failed")
    assert shown(troubled, "after_exits") == expected
    job = troubled[1]["after_exits"]
    assert job["started_at"] is None
    assert job["completed_at"] is not None


@pytest.mark.spec("rap-api:106", "controller:123")
def test_an_output_that_never_appears_is_told_without_any_name(
    system: LiveSystem, troubled: tuple[Rap, dict[str, dict[str, Any]]]
) -> None:
    rap, jobs = troubled
    assert shown(troubled, "silent") == (
        "failed",
        "unmatched_patterns",
        "Outputs matching expected patterns were not found. See job log for details.",
    )
    record = system.metadata(rap.job_id("silent"))
    (stray,) = record["unmatched_outputs"]
    assert stray in (system.job_folder(rap.job_id("silent")) / "logs.txt").read_text()
    told = {name: value for name, value in jobs["silent"].items() if name != "run_command"}
    assert "stray" not in json.dumps(told)
    assert ".none" not in json.dumps(told)


def test_a_missing_image_is_told_as_such(troubled: tuple[Rap, dict[str, dict[str, Any]]]) -> None:
    sentence = FAULT_SENTENCES[Fault.IMAGE_UNAVAILABLE]
    assert shown(troubled, "imageless") == (
        "failed",
        "job_error",
        f"This job returned a fatal error. {sentence}",
    )


@pytest.mark.spec("rap-api:105")
def test_the_exit_code_of_a_database_job_is_explained(
    troubled: tuple[Rap, dict[str, dict[str, Any]]],
) -> None:
    assert shown(troubled, "unlucky") == (
        "failed",
        "nonzero_exit",
        f"Job exited with an error: {DATABASE_EXIT_CODES[3]}",
    )
    assert troubled[1]["unlucky"]["requires_db"] is True


def test_a_job_that_took_too_much_memory_is_told_why_it_ended(
    system: LiveSystem, troubled: tuple[Rap, dict[str, dict[str, Any]]]
) -> None:
    rap, _ = troubled
    # Not every engine can tell who killed a process.
    told = system.metadata(rap.job_id("greedy"))["oom_killed"]
    reason = "Job killed by OpenSAFELY admin or memory limits"
    assert shown(troubled, "greedy") == (
        "failed",
        "nonzero_exit",
        f"Job exited with an error: {LIMIT_REACHED if told else reason}",
    )


def test_nothing_is_left_of_jobs_that_failed(
    system: LiveSystem, troubled: tuple[Rap, dict[str, dict[str, Any]]]
) -> None:
    _, jobs = troubled
    assert {job["status"] for job in jobs.values()} == set(FINAL)
    assert system.left_over([job["identifier"] for job in jobs.values()]) == []
