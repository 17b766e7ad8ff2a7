"""A branch that goes while a RAP is under way: the agent goes by what it has seen itself."""

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.git import GitCache
from rap.models import JobDefinition, Study
from rap.settings import AgentSettings
from tests.support.git_server import GitServer, StudyRepo, self_signed, serve_git
from tests.support.workspace import Backend
from worker_agent.workspace.prepare import prepare

pytestmark = pytest.mark.unit

STUDY = "https://github.com/opensafely/study"
ACTION = "https://github.com/opensafely-actions/action"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return self_signed(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def github(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GitServer]:
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    with serve_git(tmp_path / "served", certificate) as server:
        yield server


@pytest.fixture
def study(tmp_path: Path) -> StudyRepo:
    repo = StudyRepo(tmp_path / "served" / "opensafely" / "study")
    repo.commit({"README": "first"})
    repo.git("switch", "--quiet", "--create", "feature")
    return repo


@pytest.fixture
def backend(tmp_path: Path, study: StudyRepo) -> Backend:
    return Backend(tmp_path)


def asked_for_a_pack(github: GitServer) -> bool:
    """The first request for one asks for refs, to learn where the branch is."""
    return sum(path.endswith("/git-upload-pack") for path, _ in github.requests) > 1


class Agent:
    """One host; each job finds another process of it, as after a restart."""

    def __init__(self, backend: Backend, github: GitServer, commit: str) -> None:
        self.backend, self.github, self.commit = backend, github, commit
        self.settings = backend.settings.model_copy(update={"allow_local_git_repos": False})
        self.caches: list[GitCache] = []

    def job(self, name: str, **changes: Any) -> JobDefinition:
        study = Study(git_repo_url=STUDY, commit=self.commit, branch="feature")
        facts = {"id": name, "task_id": f"{name}-001", "repo_url": STUDY, "commit": self.commit}
        return self.backend.job(**(facts | {"study": study} | changes))

    async def prepares(self, job: JobDefinition, settings: AgentSettings | None = None) -> Path:
        self.caches.append(
            GitCache(
                self.settings.workdir / "repos",
                proxy_domain=self.github.url.removeprefix("https://"),
                token="",
                user="u",
                fetch_waits=(0,),
            )
        )
        note = self.backend.attempts.note_volume
        await prepare(job, self.backend.storage, self.caches[-1], settings or self.settings, note)
        return self.backend.storage.volume(job.id)

    async def refuses(self, job: JobDefinition, settings: AgentSettings | None = None) -> str:
        with pytest.raises(PermanentFault) as caught:
            await self.prepares(job, settings)
        assert caught.value.fault is Fault.REPOSITORY_REFUSED
        return str(caught.value)


@pytest.fixture
def agent(backend: Backend, github: GitServer, study: StudyRepo) -> Agent:
    return Agent(backend, github, study.commit({"a.py": "print()"}))


def delete(study: StudyRepo) -> None:
    study.git("switch", "--quiet", "main")
    study.git("branch", "--quiet", "-D", "feature")


def push_by_force(study: StudyRepo) -> None:
    study.git("commit", "--quiet", "--amend", "--message", "another")


GOES = pytest.mark.parametrize("go", [delete, push_by_force])


@GOES
async def test_a_rap_goes_on_when_its_branch_goes_and_another_rap_is_refused(
    agent: Agent, github: GitServer, study: StudyRepo, go: Callable[[StudyRepo], None]
) -> None:
    await agent.prepares(agent.job("a"))
    asked = len(github.requests)
    go(study)
    study.git("reflog", "expire", "--expire=now", "--all")
    study.git("gc", "--quiet", "--prune=now")
    volume = await agent.prepares(agent.job("b"))
    assert (volume / "a.py").read_text() == "print()"
    assert len(github.requests) == asked, "the remote is asked once for each RAP"
    told = await agent.refuses(agent.job("c", rap_id="another"))
    assert told in (
        "Could not find branch 'feature'",
        f"Could not find commit on branch 'feature': {agent.commit}",
    )


@GOES
async def test_a_branch_that_goes_before_the_first_job_fails_it_and_those_after_it(
    agent: Agent, study: StudyRepo, go: Callable[[StudyRepo], None]
) -> None:
    go(study)
    for name in ("a", "b"):
        assert "feature" in await agent.refuses(agent.job(name))


async def test_a_verdict_is_about_its_commit_and_branch_and_the_rules_go_on_holding(
    agent: Agent, study: StudyRepo
) -> None:
    await agent.prepares(agent.job("a"))
    stray = study.commit({"a.py": "other"})
    push_by_force(study)
    elsewhere = Study(git_repo_url=STUDY, commit=agent.commit, branch="main")
    await agent.refuses(agent.job("b", study=elsewhere))
    await agent.refuses(agent.job("c", commit=stray))
    strict = agent.settings.model_copy(update={"allowed_github_orgs": ("others",)})
    assert "does not belong to one of" in await agent.refuses(agent.job("d"), strict)


async def test_the_verdicts_on_study_and_reusable_action_are_each_kept_with_the_code(
    agent: Agent, study: StudyRepo, tmp_path: Path
) -> None:
    action = StudyRepo(tmp_path / "served" / "opensafely-actions" / "action")
    reviewed = action.commit({"action.py": "pass"})
    await agent.prepares(agent.job("a", repo_url=ACTION, commit=reviewed))
    for repo in (action, study):
        push_by_force(repo)
        repo.git("reflog", "expire", "--expire=now", "--all")
        repo.git("gc", "--quiet", "--prune=now")
    volume = await agent.prepares(agent.job("b", repo_url=ACTION, commit=reviewed))
    assert (volume / "action.py").exists()
    # The study's own code was not needed before.
    assert ((await agent.prepares(agent.job("c"))) / "a.py").exists()


async def test_a_job_that_is_cancelled_while_its_code_is_fetched_leaves_the_fetch_to_the_others(
    agent: Agent, github: GitServer, study: StudyRepo
) -> None:
    agent.commit = study.commit({"large": random.Random(1).randbytes(1_500_000)})
    github.slowly.set()
    first = asyncio.create_task(agent.prepares(agent.job("a")))
    async with asyncio.timeout(60):
        while not asked_for_a_pack(github):
            await asyncio.sleep(0.02)
        first.cancel()
        await asyncio.wait({first})
        second = asyncio.create_task(agent.prepares(agent.job("b")))
        github.slowly.clear()
        assert ((await second) / "large").exists()
    assert github.gone_away == 0
    for cache in agent.caches:
        await cache.close()
