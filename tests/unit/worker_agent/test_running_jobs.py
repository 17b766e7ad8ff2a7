"""How a job that this process is busy with stands."""

import pytest

from rap.egress import Fault, Stage
from tests.support import factories
from worker_agent.running_jobs import Job

pytestmark = pytest.mark.unit


@pytest.fixture
def job() -> Job:
    return Job(factories.job_definition(), lambda: None, reported=True)


def test_a_trouble_is_told_until_the_job_gets_beyond_where_it_was(job: Job) -> None:
    job.enter(Stage.PREPARED)
    job.in_trouble(Fault.CONTAINER_REFUSED)
    for stage in (Stage.PREPARING, Stage.PREPARED):  # the next try begins at the beginning
        job.enter(stage)
        assert job.progress.trouble is Fault.CONTAINER_REFUSED
    job.enter(Stage.EXECUTING)
    assert job.progress.trouble is None


def test_a_trouble_that_is_over_is_not_told_any_more(job: Job) -> None:
    job.in_trouble(Fault.GIT_UNREACHABLE)
    job.in_trouble(None)
    assert job.progress.trouble is None
