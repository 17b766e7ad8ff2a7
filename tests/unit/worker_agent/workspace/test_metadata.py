"""The record of an attempt: its keys, what is hidden in it, and which attempt it is of."""

import json
from pathlib import Path
from typing import Any

import pytest

from rap.egress import Ending, ExitNote, Fault, JobOutcome, Metrics, Stage
from tests.support.workspace import CREATED_AT, HIGH, IMAGE_ID, MODERATE, Backend, container
from worker_agent.workspace import metadata
from worker_agent.workspace.finalize import finish_recorded
from worker_agent.workspace.metadata import JobRecord, redacted

pytestmark = pytest.mark.unit


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


# --- keys ---


@pytest.mark.spec("agent:113", "agent:114", "agent:101")
async def test_the_record_has_every_key_with_its_type(backend: Backend) -> None:
    job = backend.job(
        output_spec={"out.csv": HIGH, "small.csv": MODERATE},
        image_sha="sha256:" + "b" * 64,
        database_name="default",
    )
    metrics = Metrics(cpu_mean=75.0, mem_mb_mean=550.0)
    labels = {
        "org.opencontainers.image.version": "v1",
        "org.opencontainers.image.revision": "rev",
        "org.opencontainers.image.created": "then",
        "org.opensafely.base.vcs-ref": "base",
        "org.opencontainers.base.build-date": "base-then",
    }
    await backend.finish(
        job,
        {"out.csv": "x\n", "small.csv": "patient_id\n1\n"},
        metrics=metrics,
        container=container(image_labels=labels),
    )
    record = backend.metadata(job)
    now = record.pop("timestamp_ns")
    assert record.pop("completed_at") == now // 1_000_000_000
    outcome = record.pop("outcome")
    assert outcome["ending"] == "completed"
    assert record == {
        "outputs": {"out.csv": "highly_sensitive", "small.csv": "moderately_sensitive"},
        "unmatched_patterns": [],
        "unmatched_outputs": [],
        "status_message": "Completed successfully",
        "hint": None,
        "job_definition_id": "job1",
        "job_definition_rap_id": "rap1",
        "task_id": "job1-001",
        "created_at": CREATED_AT,
        "user": "alice",
        "docker_image_id": IMAGE_ID,
        "expected_image_id": "sha256:" + "b" * 64,
        "exit_code": "0",
        "oom_killed": False,
        "container_metadata": {"Config": {"Env": ["PATH=/bin", "DATABASE_URL=xxxx-REDACTED-xxxx"]}},
        "commit": backend.commit,
        "database_name": "default",
        "action_version": "v1",
        "action_revision": "rev",
        "action_created": "then",
        "base_revision": "base",
        "base_created": "base-then",
        "level4_excluded_files": {"small.csv": "File has patient_id column"},
        "cancelled": False,
        "error": None,
        "job_metrics": metrics.model_dump(),
        "refused_outputs": {},
        "action": "make",
    }
    text = (backend.log_dir(job) / "metadata.json").read_text()
    assert text.startswith('{\n  "outputs": {\n    "out.csv"')


async def test_without_metrics_and_labels_the_record_says_so(backend: Backend) -> None:
    await backend.finish(backend.job(), {"out.csv": "x\n"})
    record = backend.metadata(backend.job())
    assert record["job_metrics"] == {}
    assert record["action_version"] == record["base_created"] == "unknown"


@pytest.mark.spec("agent:113")
def test_files_of_earlier_versions_get_the_defaults() -> None:
    record = JobRecord.model_validate({"outputs": {"a.csv": "highly_sensitive"}})
    assert record.hint is None
    assert record.unmatched_patterns == record.unmatched_outputs == ()
    assert record.level4_excluded_files == {}
    assert record.timestamp_ns is None
    assert record.user is None
    assert record.cancelled is False
    assert record.error is False
    assert record.job_metrics == {}
    assert record.action_version is record.action_revision is record.action_created is None
    assert record.base_revision is record.base_created is None
    assert record.has_outputs_on_record


# --- redaction ---


@pytest.mark.spec("agent:59")
def test_only_variables_of_the_safe_list_keep_their_value() -> None:
    names = """
        PATH PYTHON_VERSION DEBIAN_FRONTEND DEBCONF_NONINTERACTIVE_SEEN UBUNTU_VERSION PYENV_SHELL
        PYENV_VERSION PYTHONUNBUFFERED OPENSAFELY_BACKEND TZ TEMP_DATABASE_NAME PYTHONPATH
        container LANG LC_ALL EHRQL_PERMISSIONS
    """
    safe = [f"{name}=canary=1" for name in names.split()]
    secret = ["DATABASE_URL=canary=2", "STATA_LICENSE=", "HOME=/tmp", "path=canary", "CANARY"]
    inspection = {"Id": "c", "Config": {"Image": "i", "Env": [*safe, *secret]}}
    before = json.dumps(inspection)
    assert redacted(inspection) == {
        "Id": "c",
        "Config": {
            "Image": "i",
            "Env": [
                *safe,
                "DATABASE_URL=xxxx-REDACTED-xxxx",
                "STATA_LICENSE=xxxx-REDACTED-xxxx",
                "HOME=xxxx-REDACTED-xxxx",
                "path=xxxx-REDACTED-xxxx",
                "xxxx-REDACTED-xxxx",
            ],
        },
    }
    assert json.dumps(inspection) == before


@pytest.mark.parametrize("config", [None, {}, {"Env": None}, {"Env": []}, "text"])
def test_a_container_without_environment_is_recorded_as_it_is(
    config: dict[str, Any] | str | None,
) -> None:
    assert redacted({"Config": config}) == {"Config": config}
    assert redacted({}) == {}


def test_an_environment_of_another_shape_is_hidden_whole() -> None:
    assert redacted({"Config": {"Env": {"DATABASE_URL": "canary"}}}) == {
        "Config": {"Env": "xxxx-REDACTED-xxxx"}
    }


# --- whose record ---


@pytest.mark.spec("agent:23")
@pytest.mark.parametrize(
    ("stored", "current", "applies"),
    [
        ("A", "A", True),
        ("A", "B", False),
        ("", "B", True),
        (None, "B", True),
        ("A", "", True),
        (None, "", True),
    ],
)
def test_a_record_is_of_this_attempt_unless_both_say_otherwise(
    backend: Backend, stored: str | None, current: str, applies: bool
) -> None:
    record = JobRecord(task_id=stored)
    assert record.applies_to(backend.job(task_id=current)) is applies


@pytest.mark.spec("agent:21")
async def test_a_finish_recorded_is_known_without_container_and_volume(backend: Backend) -> None:
    job = backend.job(output_spec={"out.csv": HIGH, "none.csv": HIGH})
    stages = {Stage.PREPARING: 1.0, Stage.EXECUTING: 2.0}
    outcome = await backend.finish(
        job,
        {"out.csv": "x\n"},
        stages=stages,
        metrics=Metrics(cpu_peak=3.0),
        container=container(137, oom_killed=True, memory_limit_bytes=2**30),
    )
    assert finish_recorded(job, backend.storage) == outcome
    assert outcome == JobOutcome(
        task_id="job1-001",
        ending=Ending.COMPLETED,
        exit_code=137,
        exit_note=ExitNote.OUT_OF_MEMORY,
        memory_limit_bytes=2**30,
        has_unmatched_patterns=True,
        image_id=IMAGE_ID,
        stages=stages | {Stage.FINALIZED: outcome.stages[Stage.FINALIZED]},
        metrics=Metrics(cpu_peak=3.0),
    )
    assert finish_recorded(backend.job(task_id="job1-002"), backend.storage) is None
    assert finish_recorded(backend.job(id="job2"), backend.storage) is None


@pytest.mark.spec("agent:22")
async def test_a_recorded_failure_carries_its_reason(backend: Backend) -> None:
    job = backend.job()
    await backend.abandon(job, fault=Fault.COMMIT_UNAVAILABLE)
    outcome = finish_recorded(job, backend.storage)
    assert outcome is not None
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.COMMIT_UNAVAILABLE)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"exit_code": "0", "outputs": {}},
            JobOutcome(task_id="job1-001", ending=Ending.COMPLETED, exit_code=0),
        ),
        (
            {"exit_code": "None", "cancelled": True},
            JobOutcome(task_id="job1-001", ending=Ending.CANCELLED),
        ),
        (
            {"exit_code": "None", "error": {"message": "canary"}},
            JobOutcome(task_id="job1-001", ending=Ending.FAILED, fault=Fault.UNEXPECTED),
        ),
        (
            {
                "exit_code": "-1",
                "unmatched_patterns": ["canary"],
                "level4_excluded_files": {"canary": "x"},
            },
            JobOutcome(
                task_id="job1-001",
                ending=Ending.COMPLETED,
                exit_code=-1,
                has_unmatched_patterns=True,
                has_level4_excluded_files=True,
            ),
        ),
    ],
)
def test_records_of_earlier_versions_give_an_outcome_too(
    backend: Backend, content: dict[str, Any], expected: JobOutcome
) -> None:
    folder = backend.log_dir(backend.job())
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps(content))
    assert finish_recorded(backend.job(), backend.storage) == expected


async def test_a_record_is_replaced_whole_by_that_of_a_later_attempt(backend: Backend) -> None:
    await backend.finish(backend.job(), {"out.csv": "x\n"})
    later = backend.job(task_id="job1-002")
    await backend.abandon(later, cancelled=True)
    assert backend.metadata(later)["task_id"] == "job1-002"
    record = metadata.load(backend.storage, "job1")
    assert record is not None
    assert not record.has_outputs_on_record


# --- what leaves the backend ---


@pytest.mark.spec("agent:54", "agent:57")
async def test_nothing_of_the_names_on_record_is_in_the_outcome(backend: Backend) -> None:
    job = backend.job(
        output_spec={"canary-high.csv": HIGH, "canary-l4.csv": MODERATE, "canary-none.*": HIGH},
        database_name="canary-db",
    )
    outcome = await backend.finish(
        job,
        {
            "canary-high.csv": "canary",
            "canary-l4.csv": "patient_id\ncanary\n",
            "canary-stray.csv": "canary",
        },
        container=container(image_labels={"org.opencontainers.image.version": "canary"}),
        raw_log=backend.raw_log("canary\n"),
    )
    assert outcome.has_unmatched_patterns
    assert outcome.has_level4_excluded_files
    assert "canary" not in outcome.model_dump_json()
    record = json.dumps(backend.metadata(job))
    assert record.count("canary-") >= 5


@pytest.mark.spec("agent:57")
async def test_the_two_booleans_are_false_when_their_lists_are_empty(backend: Backend) -> None:
    job = backend.job(output_spec={"out.csv": MODERATE})
    outcome = await backend.finish(job, {"out.csv": "x\n1\n", "stray.csv": "y"})
    assert not outcome.has_unmatched_patterns
    assert not outcome.has_level4_excluded_files
    assert backend.metadata(job)["unmatched_outputs"] == ["stray.csv"]


@pytest.mark.parametrize("image_id", ["canary", "sha256:canary", None, f"{IMAGE_ID}\ncanary"])
async def test_an_image_id_that_is_none_stays_inside(
    backend: Backend, image_id: str | None
) -> None:
    outcome = await backend.finish(
        backend.job(), {"out.csv": "x"}, container=container(image_id=image_id)
    )
    assert outcome.image_id is None
    assert backend.metadata(backend.job())["docker_image_id"] == image_id
