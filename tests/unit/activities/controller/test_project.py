import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.controller.project import ProjectActivities, validate_request
from rap.errors import RequestRefused, Unavailable
from rap.git import GitCache
from rap.models import ProjectAnswer, RefusalKind
from rap.records import Records
from rap.records.migrations import upgrade
from rap.settings import ControllerSettings
from rap.status import StatusCode
from tests.support.factories import create_request
from tests.support.git_server import StudyRepo
from tests.support.records import changed, created, rap_id

pytestmark = pytest.mark.unit

PROJECT = """\
version: 4
actions:
  a:
    run: python:v2 a.py
    outputs: {highly_sensitive: {a: a.csv}}
  b:
    run: python:v2 b.py
    needs: [a]
    outputs: {moderately_sensitive: {b: b.csv}}
"""


@pytest.fixture
def study(tmp_path: Path) -> StudyRepo:
    return StudyRepo(tmp_path / "study")


@pytest.fixture
def git(tmp_path: Path) -> GitCache:
    return GitCache(tmp_path / "repos", proxy_domain="x.invalid", token="", user="u")


@pytest.fixture
def load(tmp_path: Path, git: GitCache, study: StudyRepo) -> Callable[..., Any]:
    async def load(settings: dict[str, Any] | None = None, **changes: Any) -> ProjectAnswer:
        own = ControllerSettings(allow_local_git_repos=True, **(settings or {}))
        activities = ProjectActivities(own, git)
        return await ActivityEnvironment().run(
            activities.load_project, create_request("a", **({"repo_url": study.url} | changes))
        )

    return load


async def test_a_project_is_loaded_with_the_number_of_unfinished_jobs_of_its_backend(
    tmp_path: Path, git: GitCache, study: StudyRepo
) -> None:
    commit = study.commit({"project.yaml": PROJECT})
    request = create_request("a", repo_url=study.url, commit=commit)
    settings = ControllerSettings(allow_local_git_repos=True)
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    upgrade(url)
    with closing(Records.connect(url)) as records:
        records.record_jobs(created(rap_id(1), "a", "b", "c"))
        records.record_jobs(created(rap_id(2), "a", backend="tpp"))
        records.record_jobs(changed(rap_id(1), "b", StatusCode.SUCCEEDED, 1.0))
        activities = ProjectActivities(settings, git, records=records)
        answer = await ActivityEnvironment().run(activities.load_project, request)
        assert answer.project.unfinished == 2
    away = Records.connect(f"sqlite:///{tmp_path / 'nothing.sqlite'}")
    activities = ProjectActivities(settings, git, records=away)
    answer = await ActivityEnvironment().run(activities.load_project, request)
    assert answer.project.unfinished == 0
    away.close()


async def test_a_project_is_loaded_with_what_the_settings_add(
    load: Callable[..., Any], study: StudyRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_JOB_CPU_COUNT", "1.5")
    commit = study.commit({"project.yaml": PROJECT})
    answer = await load(
        {
            "docker_registry": "registry.example/x",
            "workspace_ehrql_max_join_count": {"workspace": 7, "other": 8},
        },
        commit=commit,
    )
    assert answer.refusal is None
    project = answer.project
    assert [item.name for item in project.actions] == ["a", "b"]
    assert project.limits.cpu_count == 1.5
    assert project.limits.memory_limit == "4G"
    assert project.image_registry == "registry.example/x"
    assert project.job_env == {"EHRQL_MAX_JOIN_COUNT": "7"}


@pytest.mark.spec("controller:108")
async def test_the_limits_of_a_backend_beat_the_defaults(
    load: Callable[..., Any], study: StudyRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = study.commit({"project.yaml": PROJECT})
    limits = (await load(commit=commit)).project.limits
    assert (limits.cpu_count, limits.memory_limit) == (2.0, "4G")
    monkeypatch.setenv("DEFAULT_JOB_CPU_COUNT", "3")
    monkeypatch.setenv("DEFAULT_JOB_MEMORY_LIMIT", "8G")
    limits = (await load(commit=commit)).project.limits
    assert (limits.cpu_count, limits.memory_limit) == (3.0, "8G")
    monkeypatch.setenv("TEST_JOB_CPU_COUNT", "0.5")
    monkeypatch.setenv("TEST_JOB_MEMORY_LIMIT", "1G")
    limits = (await load(commit=commit)).project.limits
    assert (limits.cpu_count, limits.memory_limit) == (0.5, "1G")


async def test_the_file_is_read_at_the_commit_that_was_asked_for(
    load: Callable[..., Any], study: StudyRepo
) -> None:
    old = study.commit({"project.yaml": PROJECT})
    study.commit({"project.yaml": "version: 4\nactions: {}\n"})
    answer = await load(commit=old)
    assert len(answer.project.actions) == 2
    assert answer.project.job_env == {}


@pytest.mark.spec("controller:22")
async def test_no_project_file(load: Callable[..., Any], study: StudyRepo) -> None:
    answer = await load(commit=study.commit({"other.yaml": PROJECT}))
    assert answer.project is None
    assert answer.refusal.kind is RefusalKind.PROJECT
    assert answer.refusal.message == f"No project.yaml file found in {study.url}"


@pytest.mark.spec("controller:23")
async def test_a_commit_that_cannot_be_fetched(load: Callable[..., Any], study: StudyRepo) -> None:
    study.commit()
    answer = await load(commit="1" * 40)
    assert answer.refusal.kind is RefusalKind.GIT
    assert answer.refusal.message == f"Error fetching commit {'1' * 40} from {study.url}"


@pytest.mark.spec("controller:24")
async def test_an_invalid_project(load: Callable[..., Any], study: StudyRepo) -> None:
    answer = await load(commit=study.commit({"project.yaml": "version: 4\nactions: x\n"}))
    assert answer.refusal.kind is RefusalKind.PROJECT
    assert answer.refusal.message == (
        "Invalid project: \nProject `actions` section must be a dictionary of key/value pairs"
    )


@pytest.mark.spec("controller:33")
@pytest.mark.parametrize("text", ["version: 6\nactions: {}\n", "- a\n", ""])
async def test_a_project_that_makes_no_sense(
    load: Callable[..., Any], study: StudyRepo, text: str
) -> None:
    answer = await load(commit=study.commit({"project.yaml": text}))
    assert answer.project is None
    assert answer.refusal.message.startswith("Invalid project: \n")


async def test_a_project_too_large_for_a_history_is_refused(
    load: Callable[..., Any], study: StudyRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.controller.project.LARGEST_ANSWER", 500)
    answer = await load(commit=study.commit({"project.yaml": PROJECT}))
    assert answer.refusal.message == "Invalid project: \nThe project has too many actions (2)"


@pytest.mark.spec("controller:12", "controller:20", "controller:21")
async def test_a_refused_repository_is_never_asked(
    load: Callable[..., Any], study: StudyRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*args: Any, **kwargs: Any) -> None:
        pytest.fail("git was run")

    monkeypatch.setattr("rap.git.process.Git._start", never)
    answer = await load(repo_url="https://example.com/opensafely/study")
    assert answer.refusal.kind is RefusalKind.REPOSITORY
    answer = await load(repo_url="https://example.com/x", requested_actions=())
    assert answer.refusal.message == "At least one action must be supplied"


async def test_an_error_that_nobody_foresaw_leaves_no_word_of_it(
    load: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*args: Any, **kwargs: Any) -> None:
        raise subprocess.SubprocessError("secret detail")

    monkeypatch.setattr("rap.git.process.Git._start", fail)
    with capture_logs() as logs, pytest.raises(ApplicationError) as caught:
        await load()
    assert caught.value.type == "Unforeseen"
    assert caught.value.non_retryable
    assert caught.value.__cause__ is None
    assert "secret detail" not in str(caught.value)
    assert any(entry.get("exc_info") for entry in logs)


async def test_a_machine_that_cannot_read_it_now_may_be_asked_again(
    load: Callable[..., Any], study: StudyRepo, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise Unavailable("no memory left")

    monkeypatch.setattr("rap.project_reader._ask", fail)
    commit = study.commit({"project.yaml": PROJECT + "# not read before\n"})
    with pytest.raises(ApplicationError, match="no memory left") as caught:
        await load(commit=commit)
    assert caught.value.type == "Unavailable"
    assert not caught.value.non_retryable


# --- the checks that need nothing but the request ---

GOOD = create_request("a", workspace="my-workspace_2", repo_url="", branch="", commit="")


def test_a_good_request_passes() -> None:
    validate_request(GOOD, backends=("test", "tpp"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"requested_actions": ()},
            "At least one action must be supplied",
            marks=pytest.mark.spec("controller:7"),
        ),
        pytest.param(
            {"workspace": ""},
            "Workspace name cannot be blank",
            marks=pytest.mark.spec("controller:8"),
        ),
        pytest.param(
            {"workspace": "  "},
            "Workspace name cannot be blank",
            marks=pytest.mark.spec("controller:8"),
        ),
        *(
            pytest.param(
                {"workspace": name},
                "Invalid workspace name (allowed are alphanumeric, dash and underscore)",
                marks=pytest.mark.spec("controller:9"),
            )
            for name in ("$%#", "my ws", "../x", "ws\n", "wörk", ".")
        ),
        pytest.param(
            {"backend": "foo"},
            "Invalid backend 'foo', allowed are: test, tpp",
            marks=pytest.mark.spec("controller:10"),
        ),
        pytest.param(
            {"database_name": "invalid"},
            "Invalid database name 'invalid', allowed are: default",
            marks=pytest.mark.spec("controller:11"),
        ),
        pytest.param(
            {"requested_actions": (), "workspace": "", "backend": "foo"},
            "At least one action must be supplied",
            marks=pytest.mark.spec("controller:21"),
        ),
    ],
)
def test_a_bad_request_is_told_what_is_wrong_first(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        validate_request(GOOD.model_copy(update=changes), backends=("test", "tpp"))
    assert caught.value.kind is RefusalKind.REQUEST
    assert str(caught.value) == message
