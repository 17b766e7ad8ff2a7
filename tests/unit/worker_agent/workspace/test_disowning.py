"""What a host has filed that was given up, by the records that others read."""

from pathlib import Path

import pytest

from rap.egress import Ending
from rap.models import JobDefinition
from tests.support.workspace import HIGH, Backend
from worker_agent.workspace import metadata, provenance
from worker_agent.workspace.disowning import disown
from worker_agent.workspace.provenance import ProvenanceRecord

pytestmark = pytest.mark.unit


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def has_filed(backend: Backend, job: JobDefinition, task_id: str) -> Path:
    record = ProvenanceRecord(
        job_id=job.id,
        task_id=task_id,
        workspace=job.workspace,
        action=job.action,
        repo=job.study.git_repo_url,
        commit=job.study.commit,
        succeeded=True,
        filed_at_ns=1,
    )
    path = provenance.path_of(backend.storage, job.workspace, job.id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(provenance.encoded(record))
    return path


async def test_both_records_of_the_attempt_say_that_it_was_cancelled(backend: Backend) -> None:
    job = backend.job(output_spec={"out.csv": HIGH})
    await backend.finish(job, {"out.csv": "x"})
    has_filed(backend, job, job.task_id)
    disown(job, backend.storage)
    disown(job, backend.storage)
    filed = provenance.load(backend.storage, job.workspace, job.id)
    assert filed is not None
    assert (filed.succeeded, filed.cancelled) == (False, True)
    record = metadata.load(backend.storage, job.id)
    assert record is not None
    assert (record.cancelled, record.status_message) == (True, "Job cancelled by system")
    assert not record.has_outputs_on_record
    assert metadata.outcome_of(record, job).ending is Ending.CANCELLED


async def test_a_later_attempt_is_left_alone(backend: Backend) -> None:
    job = backend.job(output_spec={"out.csv": HIGH})
    await backend.finish(job, {"out.csv": "x"})
    path = has_filed(backend, job, job.task_id)
    before = path.read_bytes(), backend.metadata(job)
    disown(job.model_copy(update={"task_id": f"{job.id}-009"}), backend.storage)
    assert (path.read_bytes(), backend.metadata(job)) == before


def test_an_attempt_that_has_filed_nothing_gets_no_record(backend: Backend) -> None:
    job = backend.job()
    disown(job, backend.storage)
    assert metadata.load(backend.storage, job.id) is None
    assert provenance.load(backend.storage, job.workspace, job.id) is None
