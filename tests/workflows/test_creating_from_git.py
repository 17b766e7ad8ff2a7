"""Creating RAPs from real repositories, and when git is away."""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from activities.controller.project import ProjectActivities
from rap.git import GitCache
from rap.messages.workspaces import CreateOutcome
from rap.settings import ControllerSettings
from rap.status import StatusCode
from tests.support.git_server import StudyRepo
from tests.support.rap_system import RapSystem, action

pytestmark = pytest.mark.workflows

PROJECT = """\
version: '4.0'
actions:
  data:
    run: ehrql:v1 generate-dataset d.py --output d.csv
    outputs: {highly_sensitive: {o: d.csv}}
  table: {run: python:v2 t.py, needs: [data], outputs: {moderately_sensitive: {o: t.csv}}}
  plain:
    run: python:v2 p.py
    config: {option: it's}
    outputs: {moderately_sensitive: {o: p.csv}}
"""


@pytest.fixture
def study(system: RapSystem, tmp_path: Path) -> Iterator[StudyRepo]:
    settings = ControllerSettings(
        backends=(system.slug,),
        workdir=tmp_path / "work",
        allow_local_git_repos=True,
        docker_registry_api="none",
        # Nobody listens there: everything that is not local is away.
        github_proxy_domain="127.0.0.1:1",
    )
    git, warm = (
        GitCache(
            tmp_path / "repos",
            proxy_domain="127.0.0.1:1",
            token="",
            user="x",
            fetch_waits=(0.1,),
            fetches=fetches,
        )
        for fetches in (True, False)
    )
    system.projects.real = ProjectActivities(settings, git, warm_git=warm)
    yield StudyRepo(tmp_path / "study")
    system.projects.real = None


async def create(system: RapSystem, study: StudyRepo, *actions: str, **other: Any) -> Any:
    request = system.request(study.url, *actions, **other)
    return request, await system.create(request)


@pytest.mark.spec("rap-api:60", "rap-api:96", "rap-api:97", "controller:105")
async def test_jobs_of_a_real_project_run_as_the_file_says(
    system: RapSystem, study: StudyRepo
) -> None:
    commit = study.commit({"project.yaml": PROJECT})
    await system.start_backend()
    async with system.host() as host:
        request, answer = await create(system, study, "table", "plain", commit=commit)
        assert (answer.outcome, answer.count) == (CreateOutcome.CREATED, 3)
        jobs = await system.reaches(request, table=StatusCode.SUCCEEDED)
        await system.has_ended(request)
    assert {name: job.requires_db for name, job in jobs.items()} == {
        "data": True,
        "table": False,
        "plain": False,
    }
    assert jobs["plain"].run_command.endswith("""--config '{"option": "it\\u0027s"}'""")
    by_action = {one.action: one for one in host.started}
    assert by_action["data"].allow_database_access
    assert by_action["table"].database_name is None
    assert by_action["table"].commit == commit


@pytest.mark.spec("rap-api:86", "controller:64")
async def test_stale_codelists_refuse_a_request_with_new_database_jobs(
    system: RapSystem, study: StudyRepo
) -> None:
    commit = study.commit({"project.yaml": PROJECT})
    request, answer = await create(system, study, "table", commit=commit, codelists_ok=False)
    assert answer.outcome is CreateOutcome.REFUSED
    assert answer.details == "Codelists are out of date (required by action data)"
    assert system.jobs(request) == {}
    _, answer = await create(system, study, "plain", commit=commit, codelists_ok=False)
    assert answer.outcome is CreateOutcome.CREATED


@pytest.mark.spec("rap-api:80", "rap-api:81", "rap-api:82", "rap-api:84", "rap-api:85")
@pytest.mark.parametrize(
    ("files", "other", "details"),
    [
        ({"project.yaml": PROJECT}, {"actions": ["nope"]}, "Action 'nope' not found in project.y"),
        ({"project.yaml": PROJECT}, {"workspace": "a b"}, "Invalid workspace name (allowed are"),
        ({"x": "x"}, {}, "No project.yaml file found in /"),
        ({"project.yaml": "version: 4\nactions: []"}, {}, "Invalid project: \nProject `actions`"),
        ({}, {"repo_url": "https://gitlab.com/opensafely/x"}, "Repository URL https://gitlab.com"),
        ({}, {"repo_url": "https://github.com/stranger/x"}, "Repository https://github.com/stra"),
        ({}, {"repo_url": "https://github.com/opensafely/x/y"}, "Repository https://github.com/op"),
    ],
)
async def test_a_bad_request_is_refused_in_the_specified_words(
    system: RapSystem, study: StudyRepo, files: Any, other: Any, details: Any
) -> None:
    commit = study.commit({"README": "study", **files})
    given = {"requested_actions": tuple(other.pop("actions", ["plain"])), "commit": commit, **other}
    request = system.request(study.url, "plain").model_copy(update=given)
    answer = await system.create(request)
    assert answer.outcome is CreateOutcome.REFUSED
    assert answer.details.startswith(details)
    assert system.jobs(request) == {}


async def test_a_project_that_was_fetched_is_read_without_an_activity(
    system: RapSystem, study: StudyRepo
) -> None:
    commit = study.commit({"project.yaml": PROJECT})
    for _ in range(2):
        system.projects.reads.clear()
        _, answer = await create(system, study, "plain", "table", commit=commit)
        assert answer.outcome in (CreateOutcome.CREATED, CreateOutcome.NOTHING_TO_DO)
    assert system.projects.reads == []


@pytest.mark.spec("rap-api:88")
async def test_git_being_away_decides_nothing_and_spares_other_workspaces(
    system: RapSystem, study: StudyRepo
) -> None:
    url = system.project(action("a"))
    away = system.request("https://github.com/opensafely/study", "a", workspace="away")
    fine = system.request(url, "a", workspace="fine")
    undecided, created = await asyncio.gather(system.create(away), system.create(fine))
    assert undecided.outcome is CreateOutcome.NOT_NOW
    url = "https://github.com/opensafely/study"
    assert undecided.details.startswith(f"No answer from the repository {url}. ")
    assert created.outcome is CreateOutcome.CREATED


async def test_a_repository_that_is_lost_later_does_not_disturb_what_runs(
    system: RapSystem, study: StudyRepo
) -> None:
    commit = study.commit({"project.yaml": PROJECT})
    await system.start_backend()
    async with system.host(held={"data"}) as host:
        request, _ = await create(system, study, "table", commit=commit)
        await host.has_started("data")
        shutil.rmtree(study.path)
        other = "f" * 40
        _, answer = await create(system, study, "plain", commit=other)
        assert answer.details == f"Error fetching commit {other} from {study.url}"
        host.release("data")
        await system.reaches(request, table=StatusCode.SUCCEEDED)
        await system.has_ended(request)


async def test_a_create_waits_for_its_turn_while_the_workspace_is_busy(system: RapSystem) -> None:
    slow, quick = system.project(action("a")), system.project(action("b"))
    system.projects.gates[slow] = gate = asyncio.Event()
    system.projects.at_a_gate.clear()
    first = asyncio.create_task(system.create(system.request(slow, "a")))
    await system.projects.at_a_gate.wait()
    second = asyncio.create_task(system.create(system.request(quick, "b")))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(second), 0.5)
    assert not second.done()
    gate.set()
    assert (await first).outcome is CreateOutcome.CREATED
    assert (await second).outcome is CreateOutcome.CREATED
