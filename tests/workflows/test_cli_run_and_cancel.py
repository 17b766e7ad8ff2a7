"""``rap run``, ``rap status`` and ``rap cancel`` against a real server and a real read model."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.operations import requests
from cli.operations.requests import choose, create, wait_until_seen
from cli.rap_jobs import exit_code, follow, jobs_of
from infra.temporal.dev_server import DevServer
from rap.errors import RapError, Unavailable
from rap.messages.workspaces import CreateOutcome
from rap.models import ProjectAction
from rap.records import Records
from rap.status import StatusCode
from tests.support.git_server import StudyRepo
from tests.support.rap_system import PATIENCE_S, RapSystem, action

pytestmark = pytest.mark.workflows


@dataclass
class Ended:
    code: int
    out: str
    err: str


class Commands:
    """Runs ``rap`` as a user does, in the environment of one test's system."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env

    async def start(self, *arguments: str) -> Process:
        return await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "rap",
            *arguments,
            cwd=self.folder,
            env={**os.environ, **self.env},
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, *arguments: str) -> Ended:
        return await self.end_of(await self.start(*arguments))

    async def end_of(self, process: Process) -> Ended:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate()
        return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
def rap(
    system: RapSystem, temporal_server: DevServer, records: Records, tmp_path: Path
) -> Commands:
    url = records._readers.url.render_as_string(hide_password=False)
    return Commands(
        tmp_path,
        {
            "TEMPORAL_ADDRESS": temporal_server.address,
            "RAP_DATABASE_URL": url,
            "WORKDIR": str(tmp_path / "workdir"),
            "BACKENDS": system.slug,
            "BACKEND": system.slug,
        },
    )


@pytest.fixture
def study(system: RapSystem, tmp_path: Path) -> Callable[..., StudyRepo]:
    """Makes a repository in the folder of the test, with actions that the controller knows."""

    def make(*actions: ProjectAction) -> StudyRepo:
        repo = StudyRepo(tmp_path / "study")
        repo.commit({"project.yaml": "x"})
        system.projects.projects[repo.url] = actions
        return repo

    return make


# --- as a user runs them ---


async def test_run_takes_the_head_of_a_local_study_to_the_end_of_all_its_jobs(
    system: RapSystem, rap: Commands, study: Callable[..., StudyRepo]
) -> None:
    repo = study(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host() as host:
        ended = await rap.run("run", "study", "b", "--workspace", "mine")
    assert (ended.code, ended.err) == (0, "")
    first, created, *changes, last = ended.out.splitlines()
    assert repo.git("rev-parse", "HEAD")[:12] in first
    assert first.endswith(f"workspace mine on {system.slug}")
    assert created == "Created 2 new jobs: a, b"
    finals = [line.split()[2] for line in changes if "succeeded" in line]
    assert finals == ["a", "b"]
    assert last.endswith("2 of 2 jobs ended")
    assert {one.user for one in host.started} == {"controller"}
    assert {one.workspace for one in host.started} == {"mine"}


async def test_run_says_when_there_is_nothing_to_do_and_forces_when_told(
    system: RapSystem, rap: Commands, study: Callable[..., StudyRepo]
) -> None:
    study(action("a"), action("b", "a"))
    await system.start_backend()
    async with system.host() as host:
        await rap.run("run", "study", "run_all")
        ended = await rap.run("run", "study", "run_all")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out == "All actions have already completed successfully\n"
        forced = await rap.run("run", "study", "b", "--force-run-dependencies")
    assert forced.code == 0
    assert len(host.runs_of("a")) == 2


async def test_run_ends_with_1_and_one_document_if_a_job_fails(
    system: RapSystem, rap: Commands, study: Callable[..., StudyRepo]
) -> None:
    study(action("bad"), action("after", "bad"))
    await system.start_backend()
    async with system.host(exits={"bad": 3}):
        ended = await rap.run("run", "study", "after", "--json")
    assert ended.code == 1
    document = json.loads(ended.out)
    assert (document["outcome"], document["count"]) == ("created", 2)
    assert [job["status_code"] for job in document["jobs"]] == ["nonzero_exit", "dependency_failed"]
    assert "Created 2 new jobs" in ended.err


async def test_a_refused_request_is_told_on_standard_error(
    system: RapSystem, rap: Commands, study: Callable[..., StudyRepo]
) -> None:
    study(action("a"))
    ended = await rap.run("run", "study", "nope")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "Action 'nope' not found in project.yaml\n"
    listed = await rap.run("status")
    assert listed.out == f"There are no RAPs on {system.slug} yet.\n"


async def test_a_request_that_the_read_model_does_not_show_belongs_to_another_system(
    system: RapSystem, rap: Commands, study: Callable[..., StudyRepo]
) -> None:
    study(action("a"))
    rap.env["RAP_DATABASE_URL"] = f"sqlite:///{rap.folder / 'other.sqlite'}"
    assert (await rap.run("records", "upgrade")).code == 0
    ended = await rap.run("run", "study", "a")
    assert ended.code == 1
    assert "seem to belong to different systems" in ended.err


async def test_ctrl_c_stops_the_watching_and_not_the_jobs(
    system: RapSystem, rap: Commands, study: Callable[..., StudyRepo]
) -> None:
    study(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        process = await rap.start("run", "study", "a")
        await host.has_started("a")
        rap_id = host.started[0].rap_id
        # Only once it watches: before, there would be nothing to go back to.
        async with asyncio.timeout(PATIENCE_S):
            while b"initiated" not in await process.stdout.readline():
                pass
        process.send_signal(signal.SIGINT)
        ended = await rap.end_of(process)
        assert ended.code == 130
        assert f"watch again:  rap status {rap_id} --watch" in ended.out
        assert f"cancel:       rap cancel {rap_id}" in ended.out
        assert host.terminated == []
        watching = await rap.start("status", rap_id, "--watch")
        host.release("a")
        assert (await rap.end_of(watching)).code == 0
    shown = await rap.run("status", rap_id)
    assert "1 of 1 jobs ended" in shown.out


async def test_cancel_ends_all_unfinished_jobs_and_returns_when_readers_see_it(
    system: RapSystem, rap: Commands
) -> None:
    url = system.project(action("done"), action("slow"), action("after", "slow"))
    await system.start_backend()
    async with system.host(held={"slow"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("slow")
        await system.reaches(request, done=StatusCode.SUCCEEDED)
        ended = await rap.run("cancel", request.rap_id)
        codes = {name: job.status_code for name, job in system.jobs(request).items()}
    assert (ended.code, ended.out, ended.err) == (0, "2 actions cancelled\n", "")
    assert codes == {
        "done": StatusCode.SUCCEEDED,
        "slow": StatusCode.CANCELLED_BY_USER,
        "after": StatusCode.CANCELLED_BY_USER,
    }


# --- with a client and a read model of the test ---


async def test_a_create_that_is_not_answered_in_time_is_told_with_a_way_to_find_out(
    system: RapSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "CLIENT_S", 1.0)
    url = system.project(action("a"))
    system.projects.gates[url] = asyncio.Event()
    request = system.request(url, "a")
    with pytest.raises(Unavailable, match=f"No answer came.*rap status {request.rap_id}"):
        await create(system.client, request)
    system.projects.gates[url].set()
    await system.until(lambda: bool(system.jobs(request)))


async def test_a_failure_that_nobody_foresaw_is_told_as_such(system: RapSystem) -> None:
    url = system.project(action("a"))
    system.projects.broken.add(url)
    request = system.request(url, "a")
    with pytest.raises(RapError, match="Unknown error: nothing was changed"):
        await create(system.client, request)
    assert system.jobs(request) == {}


async def test_what_passes_is_told_as_such(system: RapSystem) -> None:
    url = system.project(action("a"))
    system.projects.passing[url] = 3
    with pytest.raises(Unavailable, match="it may work later: The remote is away"):
        await create(system.client, system.request(url, "a"))


async def test_following_shows_the_jobs_until_the_last_has_ended(system: RapSystem) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend()
    shown: list[Any] = []
    async with system.host(exits={"b": 1}):
        request = system.request(url, "b")
        assert (await create(system.client, request)).outcome is CreateOutcome.CREATED
        jobs = await asyncio.to_thread(follow, system.records, [request.rap_id], shown.append)
    assert [job["status_code"] for job in jobs] == ["succeeded", "nonzero_exit"]
    assert shown[-1] == jobs
    assert exit_code(jobs) == 1
    assert exit_code(jobs[:1]) == 0


async def test_named_actions_alone_are_cancelled(system: RapSystem) -> None:
    url = system.project(action("a"), action("x"))
    await system.start_backend()
    async with system.host(held={"a", "x"}) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        await host.has_started("a")
        await host.has_started("x")
        chosen = choose(system.records, request.rap_id, ["a"])
        await requests.cancel(system.client, system.records, request.rap_id, chosen)
        await asyncio.to_thread(wait_until_seen, system.records, request.rap_id, chosen)
        codes = [job["status_code"] for job in jobs_of(system.records, [request.rap_id])]
        assert codes == ["cancelled_by_user", "initiated"]
        host.release("x")
        await system.has_ended(request)


async def test_a_cancel_that_readers_never_see_is_told(system: RapSystem) -> None:
    url = system.project(action("a"))
    request = system.request(url, "a")
    await system.create(request)
    with pytest.raises(Unavailable, match="not all of these jobs have ended"):
        await asyncio.to_thread(wait_until_seen, system.records, request.rap_id, ["a"], within=0.2)
