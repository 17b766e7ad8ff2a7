"""``rap plan``: what would run and why, by the controller's own rules and memory."""

from pathlib import Path
from typing import Any

import pytest

from cli.operations.outlook import Outlook, draw, look_ahead
from cli.operations.requests import request_of
from cli.plan import GraphFormat
from infra.temporal.dev_server import DevServer
from rap.git import git_cache
from rap.settings import ControllerSettings
from tests.support.git_server import StudyRepo
from tests.support.rap_system import RapSystem, action
from workflows.workspace.explanation import Verdict

pytestmark = pytest.mark.workflows

PROJECT = """\
version: '4.0'
actions:
  a: {run: 'python:v2 a.py', outputs: {highly_sensitive: {o: a.csv}}}
  b: {run: 'python:v2 b.py', needs: [a], outputs: {highly_sensitive: {o: b.csv}}}
  c: {run: 'python:v2 c.py', needs: [b], outputs: {highly_sensitive: {o: c.csv}}}
"""


@pytest.fixture
def study(tmp_path: Path) -> StudyRepo:
    repo = StudyRepo(tmp_path / "study")
    repo.commit({"project.yaml": PROJECT})
    return repo


@pytest.fixture
def settings(
    system: RapSystem, tmp_path: Path, temporal_server: DevServer, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setenv("TEMPORAL_ADDRESS", temporal_server.address)
    return ControllerSettings(
        backends=(system.slug,), workdir=tmp_path / "work", allow_local_git_repos=True
    )


async def outlook_of(
    study: StudyRepo,
    system: RapSystem,
    settings: ControllerSettings,
    action: str,
    workspace: str = "test",
) -> Outlook:
    git = git_cache(settings)
    request = await request_of(git, study.url, [action], backend=system.slug, workspace=workspace)
    return await look_ahead(request, git, settings)


async def test_what_ran_before_in_the_workspace_counts_and_nothing_is_created(
    system: RapSystem, study: StudyRepo, settings: ControllerSettings
) -> None:
    await system.start_backend()
    async with system.host(exits={"b": 1}):
        earlier = system.request(system.project(action("a"), action("b", "a")), "b")
        await system.create(earlier)
        await system.has_ended(earlier)
    before = await system.current_jobs("ws")
    outlook = await outlook_of(study, system, settings, "c", workspace="ws")
    assert outlook.history_known
    assert [(one.action, one.verdict) for one in outlook.explanations] == [
        ("a", Verdict.REUSED),
        ("b", Verdict.RUNS),
        ("c", Verdict.RUNS),
    ]
    assert outlook.explanations[1].because.endswith("failed")
    assert await system.current_jobs("ws") == before


async def test_a_fresh_workspace_is_known_to_be_fresh(
    system: RapSystem, study: StudyRepo, settings: ControllerSettings
) -> None:
    outlook = await outlook_of(study, system, settings, "run_all", workspace="fresh")
    assert outlook.history_known
    assert {one.verdict for one in outlook.explanations} == {Verdict.RUNS}


async def test_without_temporal_the_plan_says_that_history_is_not_known(
    system: RapSystem,
    study: StudyRepo,
    settings: ControllerSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    outlook = await outlook_of(study, system, settings, "a")
    assert not outlook.history_known
    assert outlook.explanations[0].verdict is Verdict.RUNS


async def test_a_request_that_would_be_refused_is_told_in_the_controllers_words(
    system: RapSystem, study: StudyRepo, settings: ControllerSettings
) -> None:
    outlook = await outlook_of(study, system, settings, "nope")
    assert outlook.refusal is not None
    assert outlook.refusal.message == "Action 'nope' not found in project.yaml"


async def test_the_graph_has_an_arrow_for_every_need(
    system: RapSystem, study: StudyRepo, settings: ControllerSettings
) -> None:
    explained = (await outlook_of(study, system, settings, "c")).explanations
    assert draw(explained, GraphFormat.MERMAID).splitlines()[-2:] == [
        "    a0 --> a1",
        "    a1 --> a2",
    ]
    assert draw(explained, GraphFormat.DOT).splitlines()[-3:] == [
        "    a0 -> a1;",
        "    a1 -> a2;",
        "}",
    ]
