from pathlib import Path
from typing import Any

import pytest

from rap.errors import RepositoryRefused, RequestRefused
from rap.git import GitCache
from rap.models import RefusalKind
from rap.repository_and_branch_rules import validate_repository_url, validate_study
from tests.support.git_server import StudyRepo

pytestmark = pytest.mark.unit

ORGS = ("opensafely", "opensafely-actions")


def refusal_of(url: str) -> str:
    with pytest.raises(RequestRefused) as caught:
        validate_repository_url(url, ORGS)
    assert caught.value.kind is RefusalKind.REPOSITORY
    return str(caught.value)


@pytest.mark.spec("controller:15")
@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/opensafely/study",
        "https://github.com/opensafely/study/",
        "https://github.com/opensafely/study.git",
        "https://github.com/opensafely-actions/my_study-2.0",
    ],
)
def test_repositories_of_allowed_organisations_pass(url: str) -> None:
    validate_repository_url(url, ORGS)


@pytest.mark.spec("controller:12", "agent:64")
@pytest.mark.parametrize(
    "url",
    [
        "https://not-gihub.com/invalid",
        "http://github.com/opensafely/x",
        "https://github.com:443/opensafely/x",
        "https://user@github.com/opensafely/x",
        "https://user:pass@github.com/opensafely/x",
        "https://github.com.evil.org/opensafely/x",
        "https://evil.org/github.com/opensafely/x",
        "https://GitHub.com/opensafely/x",
        "ssh://github.com/opensafely/x",
        "git@github.com:opensafely/x",
        "file:///srv/opensafely/x",
        "https://[github.com/opensafely/x",
        "github.com/opensafely/x",
        "--upload-pack=x",
        "",
    ],
)
def test_only_https_to_github_passes(url: str) -> None:
    assert refusal_of(url) == f"Repository URL {url} does not start with https://github.com"


@pytest.mark.spec("controller:13", "agent:63")
@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/other/study",
        "https://github.com/opensafely-evil/study",
        "https://github.com/Opensafely/study",
        "https://github.com//opensafely/study",
        "https://github.com/",
        "https://github.com",
    ],
)
def test_foreign_organisations_are_refused(url: str) -> None:
    assert refusal_of(url) == (
        f"Repository {url} does not belong to one of the following Github organisations: "
        "opensafely opensafely-actions"
    )


@pytest.mark.spec("controller:14", "agent:64")
@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "/study/tree",
        "/study//",
        "/study/../other",
        "/..",
        "/.",
        "/study?x=1",
        "/study?",
        "/study#x",
        "?x=1",
        "/study\n",
        "/stu\tdy",
        "/stu dy",
        "/study;x",
        "/%2e%2e",
    ],
)
def test_anything_but_organisation_and_name_is_refused(path: str) -> None:
    url = f"https://github.com/opensafely{path}"
    assert refusal_of(url) == (
        f"Repository {url} was not of the expected format: "
        "https://github.com/[organisation]/[project-name]"
    )


# --- with a repository ---


@pytest.fixture
def study(tmp_path: Path) -> StudyRepo:
    return StudyRepo(tmp_path / "study")


class AtGithub(GitCache):
    """The real thing, but GitHub is a folder of this machine."""

    def __init__(self, root: Path, study: StudyRepo) -> None:
        super().__init__(root, proxy_domain="x.invalid", token="", user="u")
        self.study, self.asked = study, 0

    async def commit_is_on_branch(self, repo_url: str, branch: str, commit: str) -> bool:
        self.asked += 1
        return await super().commit_is_on_branch(self.study.url, branch, commit)


@pytest.fixture
def git(tmp_path: Path, study: StudyRepo) -> AtGithub:
    return AtGithub(tmp_path / "repos", study)


async def check(git: AtGithub, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        "repo_url": "https://github.com/opensafely/study",
        "branch": "main",
        "commit": "",
        "allowed_orgs": ORGS,
        "allow_local": False,
    }
    await validate_study(git, **(arguments | changes))


async def refusal(git: AtGithub, **changes: Any) -> str:
    with pytest.raises(RequestRefused) as caught:
        await check(git, **changes)
    assert caught.value.kind is RefusalKind.REPOSITORY
    return str(caught.value)


@pytest.mark.spec("controller:19", "agent:66")
@pytest.mark.parametrize("age", [0, 1, 14])
async def test_the_head_of_the_branch_and_older_commits_pass(
    git: AtGithub, study: StudyRepo, age: int
) -> None:
    await check(git, commit=study.commits(16)[-1 - age])


@pytest.mark.spec("controller:18", "agent:66", "rap-api:83")
async def test_a_commit_that_is_not_on_the_branch_is_refused(
    git: AtGithub, study: StudyRepo
) -> None:
    study.commit()
    study.git("switch", "--quiet", "--orphan", "fork")
    stray = study.commit({"b": "1"})
    assert await refusal(git, commit=stray) == f"Could not find commit on branch 'main': {stray}"
    assert await refusal(git, commit="v1") == "Could not find commit on branch 'main': v1"


@pytest.mark.spec("controller:17", "agent:65", "rap-api:83")
@pytest.mark.parametrize("branch", ["nope", "refs/pull/1/head", "refs/heads/main", "v1", "ma*"])
async def test_only_a_branch_will_do(git: AtGithub, study: StudyRepo, branch: str) -> None:
    commit = study.commit()
    study.git("update-ref", "refs/pull/1/head", commit)
    study.git("tag", "v1")
    assert await refusal(git, branch=branch, commit=commit) == f"Could not find branch '{branch}'"


@pytest.mark.spec("controller:16", "controller:21", "agent:65", "rap-api:83")
@pytest.mark.parametrize("branch", ["", " "])
async def test_a_blank_branch_is_refused_without_asking_the_remote(
    git: AtGithub, branch: str
) -> None:
    assert await refusal(git, branch=branch) == "A branch name must be supplied"
    assert git.asked == 0


@pytest.mark.spec("controller:21")
async def test_a_bad_url_is_refused_before_anything_else(git: AtGithub) -> None:
    text = await refusal(git, repo_url="https://github.com/other/x", branch="")
    assert "does not belong" in text
    assert git.asked == 0


@pytest.mark.spec("controller:20", "agent:67")
async def test_local_paths_pass_unchecked_only_where_they_are_allowed(
    git: AtGithub, study: StudyRepo
) -> None:
    await check(git, repo_url=study.url, branch="", commit="x", allow_local=True)
    assert git.asked == 0
    assert await refusal(git, repo_url=study.url) == (
        f"Repository URL {study.url} does not start with https://github.com"
    )


async def test_other_urls_are_checked_also_where_local_paths_are_allowed(git: AtGithub) -> None:
    text = await refusal(git, repo_url="https://example.com/x/y", allow_local=True)
    assert "does not start with" in text


async def test_a_remote_that_does_not_answer_is_not_a_refusal(
    git: AtGithub, tmp_path: Path
) -> None:
    git.study.path.rename(tmp_path / "gone")
    with pytest.raises(RepositoryRefused):
        await check(git, commit="0" * 40)
