"""Creates that are offered again: what the controller has found out itself is not asked again."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.controller.project import ProjectActivities
from rap.branch_verdicts import BranchVerdicts
from rap.contracts.activities import STILL_FETCHING
from rap.git import GitCache, TimeLimits
from rap.models import ProjectAnswer
from rap.settings import ControllerSettings
from tests.support.factories import REPO, create_request
from tests.support.git_server import GitServer, StudyRepo, self_signed, serve_git

pytestmark = pytest.mark.unit

PROJECT = """\
version: '4.0'
actions:
  a: {run: python:v2 a.py, outputs: {highly_sensitive: {a: a.csv}}}
"""


@pytest.fixture
def study(tmp_path: Path) -> StudyRepo:
    return StudyRepo(tmp_path / "served" / "opensafely" / "study")


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitServer]:
    certificate = self_signed(tmp_path)
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    with serve_git(tmp_path / "served", certificate) as server:
        yield server


class Controller:
    """The activities, with git as a controller has it."""

    def __init__(self, folder: Path, github: GitServer, limits: TimeLimits | None = None) -> None:
        domain = github.url.removeprefix("https://")
        self.git, warm = (
            GitCache(
                folder / "repos",
                proxy_domain=domain,
                token="",
                user="u",
                limits=limits,
                fetches=fetches,
            )
            for fetches in (True, False)
        )
        self.activities = ProjectActivities(
            ControllerSettings(),
            self.git,
            warm_git=warm,
            verdicts=BranchVerdicts(folder / "verdicts"),
        )

    async def loads(self, commit: str, **changes: Any) -> ProjectAnswer:
        """As the workspace does it: what is here first."""
        request = create_request("a", repo_url=REPO, branch="main", commit=commit, **changes)
        answer = await ActivityEnvironment().run(self.activities.load_known_project, request)
        if answer == ProjectAnswer():
            answer = await ActivityEnvironment().run(self.activities.load_project, request)
        return answer


async def test_a_create_that_is_offered_again_goes_on_when_its_branch_was_pushed_by_force(
    tmp_path: Path, study: StudyRepo, github: GitServer
) -> None:
    commit = study.commit({"project.yaml": PROJECT})
    assert (await Controller(tmp_path, github).loads(commit)).project is not None
    study.git("commit", "--quiet", "--amend", "--message", "another")
    asked = len(github.requests)
    assert (await Controller(tmp_path, github).loads(commit)).project is not None
    assert len(github.requests) == asked
    refused = (await Controller(tmp_path, github).loads(commit, rap_id="s" * 16)).refusal
    assert refused is not None
    assert refused.message == f"Could not find commit on branch 'main': {commit}"


async def test_a_project_that_takes_longer_to_fetch_than_an_answer_is_read_by_a_later_one(
    tmp_path: Path, study: StudyRepo, github: GitServer
) -> None:
    large = random.Random(1).randbytes(1_500_000)
    commit = study.commit({"project.yaml": PROJECT, "large": large})
    github.slowly.set()
    controller = Controller(tmp_path, github, TimeLimits(answer=5))
    patient = Controller(tmp_path, github)
    try:
        with pytest.raises(ApplicationError, match=f"{REPO} is still being fetched") as caught:
            await controller.loads(commit)
        assert caught.value.type == STILL_FETCHING
        github.slowly.clear()
        await controller.git.fetch(REPO, commit)
        assert (await patient.loads(commit)).project is not None
        assert github.gone_away == 0
    finally:
        await controller.git.close()
