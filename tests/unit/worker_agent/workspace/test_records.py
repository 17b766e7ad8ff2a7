"""What is written down with the outputs of a job."""

from pathlib import Path
from typing import Any

import pytest

from rap.egress import Ending, Fault, Stage
from rap.models import JobDefinition
from tests.support.workspace import HIGH, IMAGE_ID, MODERATE, Backend, container
from worker_agent.workspace import provenance
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.provenance import InputFile, ProvenanceRecord
from worker_agent.workspace.records import Described, job_record, provenance_record

pytestmark = pytest.mark.unit


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def filed(backend: Backend, job: JobDefinition) -> ProvenanceRecord:
    record = provenance.load(backend.storage, "ws", job.id)
    assert record is not None
    return record


async def test_a_job_is_filed_with_all_that_explains_its_outputs(backend: Backend) -> None:
    read = InputFile(name="in.csv", job_id="k", action="load", size=3, sha256="a" * 64, level=HIGH)
    job = backend.job(
        output_spec={"a.csv": MODERATE, "b.csv": HIGH},
        input_job_ids=("k",),
        args=("python", "a.py"),
        backend="tpp",
        project="a project",
        orgs=("an org",),
        allow_database_access=True,
        database_name="default",
        env={"EHRQL_PERMISSIONS": '["gp", "ons"]'},
        image_sha="sha256:" + "b" * 64,
    )
    await backend.finish(job, {"a.csv": "patient_id\n1\n", "b.csv": "y"}, inputs=(read,))
    record = filed(backend, job)
    assert record.succeeded
    assert record.inputs == (read,)
    assert record.needs == ("k",)
    assert (record.repo, record.commit, record.branch) == (
        job.study.git_repo_url,
        job.study.commit,
        job.study.branch,
    )
    assert (record.image, record.image_digest, record.image_id) == (
        job.image,
        job.image_sha,
        IMAGE_ID,
    )
    assert record.args == job.args
    assert record.patterns == job.output_spec
    assert (record.database_name, record.permissions) == ("default", ("gp", "ons"))
    assert (record.backend, record.project, record.orgs) == ("tpp", "a project", ("an org",))
    assert record.stages.keys() == {Stage.PREPARED, Stage.FINALIZED}
    a, b = record.outputs
    assert (a.name, a.level, a.excluded) == ("a.csv", MODERATE, True)
    assert a.reason == "File has patient_id column"
    assert (b.name, b.size, b.level, b.excluded) == ("b.csv", 1, HIGH, False)
    metadata = backend.metadata(job)
    assert metadata["output_hashes"] == {"a.csv": a.sha256, "b.csv": b.sha256}
    assert metadata["timestamp_ns"] <= record.filed_at_ns


@pytest.mark.parametrize(("exit_code", "pattern"), [(1, "a.csv"), (0, "none.csv"), (137, "a.csv")])
async def test_a_job_that_did_not_succeed_says_so_of_its_files(
    backend: Backend, exit_code: int, pattern: str
) -> None:
    job = backend.job(output_spec={"*.csv": HIGH, pattern: HIGH})
    await backend.finish(job, {"a.csv": "x"}, exit_code)
    record = filed(backend, job)
    assert not record.succeeded
    assert record.exit_code == exit_code
    assert [file.name for file in record.outputs] == ["a.csv"]


@pytest.mark.parametrize("how", [{"cancelled": True}, {"fault": Fault.UNEXPECTED}])
async def test_a_job_that_files_nothing_has_no_record_of_provenance(
    backend: Backend, how: dict[str, Any]
) -> None:
    job = backend.job()
    await backend.finish(job, {"out.csv": "x"}, **how)
    assert provenance.load(backend.storage, "ws", job.id) is None


async def test_of_two_jobs_the_later_one_has_the_later_time_whatever_the_clock_says(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = backend.job(), backend.job(id="job2", task_id="job2-001")
    await backend.finish(first, {"out.csv": "x"})
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_000_000_000)
    await backend.finish(second, {"out.csv": "x"})
    assert filed(backend, first).filed_at_ns < filed(backend, second).filed_at_ns


@pytest.mark.parametrize(
    ("listed", "permissions"),
    [("", ()), ("{", ()), ('{"a": 1}', ()), ('["gp"]', ("gp",)), ("[]", ())],
)
def test_permissions_are_those_of_the_command(listed: str, permissions: tuple[str, ...]) -> None:
    job = JobDefinition.model_validate(
        _definition() | {"allow_database_access": True, "env": {"EHRQL_PERMISSIONS": listed}}
    )
    assert _explained(job, AttemptEnd(container=container())).permissions == permissions


def test_a_job_without_the_database_has_neither_database_nor_permissions() -> None:
    job = JobDefinition.model_validate(_definition() | {"env": {"EHRQL_PERMISSIONS": '["gp"]'}})
    record = _explained(job, AttemptEnd(container=container(image_id="odd")))
    assert (record.database_name, record.permissions, record.image_id) == (None, (), None)


def test_an_outcome_that_is_not_known_is_no_success() -> None:
    job, end = JobDefinition.model_validate(_definition()), AttemptEnd(container=container())
    record = job_record(job, end, Described(), at_ns=1).model_copy(update={"outcome": None})
    assert not provenance_record(job, end, Described(), record, at_ns=1).succeeded
    assert Ending.COMPLETED is end.ending


def _definition() -> dict[str, Any]:
    study = {"git_repo_url": "r", "commit": "c", "branch": "main"}
    names = ("id", "rap_id", "repo_url", "commit", "workspace", "action", "image")
    return {**dict.fromkeys(names, "x"), "study": study, "created_at": 1}


def _explained(job: JobDefinition, end: AttemptEnd) -> ProvenanceRecord:
    record = job_record(job, end, Described(), at_ns=1)
    return provenance_record(job, end, Described(), record, at_ns=1)
