from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.controller.reusable_actions import ReusableActionsActivities
from rap import ids
from rap.contracts.activities import UNAVAILABLE
from rap.git import GitCache
from rap.models import JobSpec, PrivacyLevel, RefusalKind
from rap.planned_jobs import ResolveAnswer, ResolveRequest
from tests.support.factories import COMMIT, job_spec
from tests.support.git_server import Fault, StudyRepo, serve_git

pytestmark = pytest.mark.unit

ACTION = "run: python:v2 python main.py\n"


class CountingCache(GitCache):
    """The real thing; it counts what it is asked."""

    asked: list[tuple[str, ...]]

    async def resolve(self, repo_url: str, ref: str) -> str:
        self.asked.append(("resolve", repo_url, ref))
        return await super().resolve(repo_url, ref)

    async def read_file(self, repo_url: str, commit: str, path: str) -> bytes:
        self.asked.append(("read", repo_url, commit))
        return await super().read_file(repo_url, commit, path)


@pytest.fixture
def git(tmp_path: Path) -> CountingCache:
    cache = CountingCache(tmp_path / "repos", proxy_domain="x.invalid", token="", user="u")
    cache.asked = []
    return cache


@pytest.fixture
def org(tmp_path: Path) -> Path:
    """The folder that stands for the organisation of all reusable actions."""
    return tmp_path / "actions"


@pytest.fixture
def resolve(git: CountingCache, org: Path) -> Callable[..., Any]:
    async def resolve(*commands: tuple[str, str], url: str | None = None) -> ResolveAnswer:
        activities = ReusableActionsActivities(git, actions_url=url or str(org))
        request = ResolveRequest(jobs=tuple(job(*pair) for pair in commands))
        return await ActivityEnvironment().run(activities.resolve_reusable_actions, request)

    return resolve


@pytest.fixture
def refusal(resolve: Callable[..., Any]) -> Callable[..., Any]:
    async def refusal(command: str) -> str:
        answer = await resolve(("my_action", command))
        assert answer.jobs == ()
        assert answer.refusal.kind is RefusalKind.REUSABLE_ACTION
        heading = f"in 'my_action: {command.split()[0]}' "
        assert answer.refusal.message.startswith(heading)
        return answer.refusal.message.removeprefix(heading)

    return refusal


def job(action: str, command: str) -> JobSpec:
    outputs = {PrivacyLevel.HIGHLY_SENSITIVE: {"a": "a.csv"}}
    return job_spec(action, id=ids.job_id("r", action), run_command=command, outputs=outputs)


def publish(
    org: Path, name: str = "reusable-action", tag: str = "v1", text: str | None = ACTION
) -> tuple[StudyRepo, str]:
    repo = StudyRepo(org / name)
    commit = repo.commit({"action.yaml": text} if text is not None else {"x": "x"})
    repo.git("tag", tag)
    return repo, commit


@pytest.mark.spec("controller:67")
@pytest.mark.parametrize(
    "command",
    ["ehrql:v1 x", "stata-mp:latest x", "r:v2 'a b'", "jupyter:v1", "python:v2", "sqlrunner:v1"],
)
async def test_runtimes_are_left_alone(
    resolve: Callable[..., Any], git: CountingCache, command: str
) -> None:
    answer = await resolve(("a", command))
    assert answer.jobs == (job("a", command),)
    assert (answer.jobs[0].action_repo_url, answer.jobs[0].action_commit) == (None, None)
    assert git.asked == []


@pytest.mark.spec("controller:68", "controller:69")
async def test_the_command_of_the_action_comes_before_that_of_the_job(
    resolve: Callable[..., Any], org: Path
) -> None:
    _, commit = publish(org)
    answer = await resolve(
        ("a", "reusable-action:v1 --output-format=png output/input.csv"),
        ("b", """reusable-action:v1 --config '{"a": "b c"}'"""),
        ("c", "python:v2 c.py"),
    )
    assert [item.run_command for item in answer.jobs] == [
        "python:v2 python main.py --output-format=png output/input.csv",
        """python:v2 python main.py --config '{"a": "b c"}'""",
        "python:v2 c.py",
    ]
    for item in answer.jobs[:2]:
        assert item.action_repo_url == f"{org}/reusable-action"
        assert item.action_commit == commit
        assert item.study.commit == COMMIT
    assert answer.jobs[2] == job("c", "python:v2 c.py")


async def test_an_older_version_of_an_action_is_that_version(
    resolve: Callable[..., Any], org: Path
) -> None:
    repo, commit = publish(org)
    repo.commit({"action.yaml": "run: python:v2 python other.py\n"})
    repo.git("tag", "--annotate", "--message=x", "v2")
    (one, two) = (await resolve(("a", "reusable-action:v1"), ("b", "reusable-action:v2"))).jobs
    assert (one.run_command, one.action_commit) == ("python:v2 python main.py", commit)
    assert two.run_command == "python:v2 python other.py"


@pytest.mark.spec("controller:75")
async def test_an_action_used_twice_is_looked_up_once(
    resolve: Callable[..., Any], org: Path, git: CountingCache
) -> None:
    publish(org)
    await resolve(("a", "reusable-action:v1 x"), ("b", "reusable-action:v1 y"))
    kinds = [(kind, rest[-1]) for kind, *rest in git.asked]
    assert len([kind for kind, _ in kinds if kind == "read"]) == 1
    assert kinds.count(("resolve", "v1")) == 1


@pytest.mark.spec("controller:70")
async def test_an_unknown_repository(refusal: Callable[..., Any], org: Path) -> None:
    assert await refusal("nope:v1 x") == (
        f"could not find a repo at {org}/nope\n"
        "Check that 'nope' is in the list of available actions at https://actions.opensafely.org"
    )


@pytest.mark.spec("controller:70")
async def test_an_unknown_tag(refusal: Callable[..., Any], org: Path) -> None:
    publish(org)
    assert await refusal("reusable-action:v9") == (
        f"'v9' is not a tag listed in {org}/reusable-action/tags"
    )


@pytest.mark.spec("controller:70")
async def test_a_tag_that_is_not_on_the_main_branch(refusal: Callable[..., Any], org: Path) -> None:
    repo, _ = publish(org)
    repo.git("switch", "--quiet", "--create", "dev")
    repo.commit({"b": "1"})
    repo.git("tag", "v2")
    assert await refusal("reusable-action:v2") == (
        "tag 'v2' has not yet been approved for use (not merged into main branch)"
    )


@pytest.mark.spec("controller:70")
async def test_a_repository_without_an_action_file(refusal: Callable[..., Any], org: Path) -> None:
    publish(org, text=None)
    assert await refusal("reusable-action:v1") == (
        f"{org}/reusable-action/tree/v1 doesn't look like a valid action "
        "(no 'action.yaml' file present)"
    )


async def test_a_repository_without_a_main_branch(refusal: Callable[..., Any], org: Path) -> None:
    repo, commit = publish(org)
    repo.git("branch", "--move", "trunk")
    assert await refusal("reusable-action:v1") == (
        f"error validating '{commit}' in {org}/reusable-action"
    )


@pytest.mark.spec("controller:71")
@pytest.mark.parametrize("image", ["a/b", "..", "../x", ".", "a b"])
async def test_an_image_that_cannot_be_a_repository(
    resolve: Callable[..., Any], git: CountingCache, image: str
) -> None:
    answer = await resolve(("my_action", f"'{image}:v1'"))
    assert answer.refusal.message == (
        f"in 'my_action: {image}:v1' '{image}' contains invalid characters"
    )
    assert git.asked == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param(
            "outputs: {}\n",
            "  ReusableActionError: Missing `run` key in 'action.yaml'",
            marks=pytest.mark.spec("controller:72"),
        ),
        pytest.param(
            "run: fortran:v1 x\n",
            "  ReusableActionError: Unrecognised runtime: fortran",
            marks=pytest.mark.spec("controller:73"),
        ),
        pytest.param(
            "run: ehrql:v1 generate-dataset x\n",
            "  ReusableActionError: Re-usable actions cannot run commands which access the "
            "database",
            marks=pytest.mark.spec("controller:74"),
        ),
        (
            "run:\n",
            (
                "  ReusableActionError: `run` must start with a runtime and its version, as "
                "`python:v2`"
            ),
        ),
        (
            "run: python x\n",
            (
                "  ReusableActionError: `run` must start with a runtime and its version, as "
                "`python:v2`"
            ),
        ),
        (
            'run: python:v2 "x\n',
            "  ReusableActionError: `run` cannot be split into words: No closing quotation",
        ),
        (
            "- a\n",
            "  ReusableActionError: 'action.yaml' must be a dictionary of key/value pairs",
        ),
    ],
)
async def test_a_bad_action_file_is_for_its_maintainers_to_mend(
    refusal: Callable[..., Any], org: Path, text: str, reason: str
) -> None:
    publish(org, text=text)
    assert await refusal("reusable-action:v1") == (
        f"invalid action, please open an issue on {org}/reusable-action/issues\n\n{reason}"
    )


async def test_an_action_file_that_is_not_yaml(refusal: Callable[..., Any], org: Path) -> None:
    publish(org, text="run: [\n")
    text = await refusal("reusable-action:v1")
    heading, _, reason = text.partition("\n\n")
    assert heading == f"invalid action, please open an issue on {org}/reusable-action/issues"
    assert reason.startswith("  YAMLError: while parsing")
    assert 'in "action.yaml", line' in reason
    assert all(line.startswith("  ") for line in reason.splitlines() if line.strip())


@pytest.mark.spec("controller:76")
async def test_one_bad_action_refuses_them_all(resolve: Callable[..., Any], org: Path) -> None:
    publish(org)
    answer = await resolve(
        ("a", "python:v2 x"), ("b", "reusable-action:v1"), ("c", "nope:v1"), ("d", "nope2:v1")
    )
    assert answer.jobs == ()
    assert answer.refusal.message.startswith("in 'c: nope:v1' could not find a repo at")


async def test_it_works_over_http(resolve: Callable[..., Any], org: Path) -> None:
    _, commit = publish(org)
    with serve_git(org) as server:
        (item,) = (await resolve(("a", "reusable-action:v1 x"), url=server.url)).jobs
    assert item.run_command == "python:v2 python main.py x"
    assert item.action_repo_url == f"{server.url}/reusable-action"
    assert item.action_commit == commit


@pytest.mark.parametrize("fault", [503, Fault.RESET])
async def test_a_repository_host_that_is_away_refuses_nothing(
    resolve: Callable[..., Any], org: Path, fault: Fault | int
) -> None:
    StudyRepo(org / "reusable-action").commit({"action.yaml": ACTION})
    with serve_git(org) as server:
        server.fault = fault
        with pytest.raises(ApplicationError) as caught:
            await resolve(("one", "reusable-action:v1"), url=server.url)
    assert (caught.value.type, caught.value.non_retryable) == (UNAVAILABLE, False)
