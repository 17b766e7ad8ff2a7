"""Case branch-deleted: the branch is pushed by force, and then deleted, while a RAP is under way.

Its other jobs run all the same, on an agent that is started anew for each.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from activities.agent.run_job import RunJob
from rap.egress import Ending, Fault, JobOutcome
from rap.models import JobDefinition, Study
from rap.settings import AgentSettings
from tests.docker.conftest import IMPATIENT, PROJECT
from tests.support.git_server import StudyRepo, self_signed, serve_git
from worker_agent.host import Host

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("image")]

URL = "https://github.com/opensafely/study"
WRITES = "cat analysis.txt; mkdir output; echo a,b > output/one.csv"


@pytest.fixture
def repo(tmp_path: Path) -> StudyRepo:
    repo = StudyRepo(tmp_path / "served" / "opensafely" / "study")
    repo.commit()
    repo.git("switch", "--quiet", "--create", "feature")
    repo.commit({"project.yaml": PROJECT, "analysis.txt": "code"})
    return repo


@pytest.fixture
def strict(
    settings: AgentSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: StudyRepo
) -> Iterator[AgentSettings]:
    """Settings of an agent that takes studies from GitHub alone, which is here for the test."""
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    with serve_git(tmp_path / "served", certificate) as github:
        yield settings.model_copy(
            update={
                "allow_local_git_repos": False,
                "github_proxy_domain": github.url.removeprefix("https://"),
            }
        )


async def test_jobs_that_still_wait_run_when_their_branch_has_gone(
    strict: AgentSettings,
    repo: StudyRepo,
    job: Callable[..., Any],
    activity_environment: Callable[..., Any],
) -> None:
    commit = repo.git("rev-parse", "HEAD")
    study = Study(git_repo_url=URL, commit=commit, branch="feature")

    async def run(**changes: Any) -> JobOutcome:
        definition: JobDefinition = job(WRITES, repo_url=URL, commit=commit, study=study, **changes)
        host = Host.of(strict, IMPATIENT)
        outcome: JobOutcome = await activity_environment().run(RunJob(host).run_job, definition)
        return outcome

    assert (await run()).exit_code == 0
    repo.git("commit", "--quiet", "--amend", "--message", "another")
    assert (await run()).exit_code == 0
    repo.git("switch", "--quiet", "main")
    repo.git("branch", "--quiet", "-D", "feature")
    assert (await run()).exit_code == 0
    another = await run(rap_id="raprapraprap0002")
    assert (another.ending, another.fault) == (Ending.FAILED, Fault.REPOSITORY_REFUSED)
