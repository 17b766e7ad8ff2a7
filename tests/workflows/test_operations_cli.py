"""Operators' commands against a real server: each order is carried out, confirmed and recorded."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client

from activities.controller.project import ProjectActivities
from cli.backend import signals
from cli.backend.signals import order, state_of
from infra.temporal.dev_server import DevServer
from rap import ids
from rap.contracts import activities as contracts
from rap.contracts.workflows import DATABASE_MODE, PAUSE
from rap.egress import JobOutcome
from rap.errors import Unavailable
from rap.git import GitCache
from rap.messages.orders import DatabaseMode, Switch
from rap.models import CreateRequest, JobDefinition
from rap.records import Records
from rap.rows import MaintenanceType, OrderKind
from rap.settings import ControllerSettings
from rap.status import StatusCode
from rap.status_answers import microseconds as iso
from tests.support.git_server import StudyRepo, serve_git
from tests.support.rap_system import PATIENCE_S, RapSystem, StubHost, action, job_workflow
from workflows.job import clean_up

pytestmark = pytest.mark.workflows

SUCCEEDED = StatusCode.SUCCEEDED
BAD = "f" * 40
PROJECT = """\
version: '4.0'
actions:
  data:
    run: ehrql:v1 generate-dataset d.py --output d.csv
    outputs: {highly_sensitive: {o: d.csv}}
  table: {run: python:v2 t.py, needs: [data], outputs: {moderately_sensitive: {o: t.csv}}}
"""
EXECUTING = StatusCode.INITIATED


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        assert (self.code, self.err) == (0, "")
        return self.out.splitlines()

    @property
    def document(self) -> dict:
        assert self.code == 0
        return json.loads(self.out)


class Operator:
    """Runs ``rap`` as an operator does, in the environment of one test's system."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self._folder, self.env = folder, env

    async def start(self, *arguments: str) -> Process:
        return await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "rap",
            *arguments,
            cwd=self._folder,
            env={**os.environ, **self.env},
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
        )

    async def run(self, *arguments: str, answer: str = "") -> Ended:
        return await self.end_of(await self.start(*arguments), answer)

    async def end_of(self, process: Process, answer: str = "") -> Ended:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate(answer.encode())
        return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
def rap(
    system: RapSystem, temporal_server: DevServer, records: Records, tmp_path: Path
) -> Operator:
    url = records._readers.url.render_as_string(hide_password=False)
    return Operator(
        tmp_path,
        {
            "TEMPORAL_ADDRESS": temporal_server.address,
            "RAP_DATABASE_URL": url,
            "WORKDIR": str(tmp_path / "workdir"),
            "BACKENDS": f"{system.slug},other",
            "LOGNAME": "ada",
            "SUDO_USER": "",
        },
    )


@asynccontextmanager
async def running(
    system: RapSystem, *actions: str, db: bool = False
) -> AsyncIterator[tuple[StubHost, CreateRequest]]:
    """A backend on which jobs run, one for each action, until they are released."""
    url = system.project(*(action(name, db=db) for name in actions))
    await system.start_backend()
    async with system.host(held=set(actions)) as host:
        request = system.request(url, "run_all")
        await system.create(request)
        for name in actions:
            await host.has_started(name)
        await system.reaches(request, **dict.fromkeys(actions, EXECUTING))
        yield host, request
        for name in actions:
            host.release(name)
        await system.tell_backend(PAUSE, Switch(on=False))
        await system.has_ended(request)


def latest(row: Any) -> tuple:
    one = row.orders[-1]
    return one.kind, one.detail, one.by, one.why


# --- pause ---


@pytest.mark.spec("controller:172")
async def test_pausing_prints_the_flag_and_is_kept_with_who_when_and_why(
    system: RapSystem, rap: Operator
) -> None:
    await system.start_backend()
    paused = await rap.run("backend", "pause", system.slug.upper(), "--why", "disk")
    row = await system.backend()
    line, rest = paused.lines
    assert line == f"[{system.slug}] paused=true ({iso(row.paused_since)})"
    assert "0 running jobs will go on" in rest
    assert latest(row) == (OrderKind.PAUSE, "", "ada", "disk")
    again = await rap.run("pause", "on", system.slug, "--why", "disk")
    assert again.lines == [line]
    assert len((await system.backend()).orders) == 1
    off = await rap.run("pause", "off", system.slug, "--by", "bob")
    row = await system.backend()
    assert off.lines == [f"[{system.slug}] paused=None ({iso(row.paused_since)})"]
    assert latest(row) == (OrderKind.UNPAUSE, "", "bob", "")
    asked = await rap.run("backend", "unpause", system.slug, "--json")
    assert asked.document["state"]["paused"] is False


async def test_a_backend_without_a_controller_is_told_with_the_remedy(rap: Operator) -> None:
    ended = await rap.run("backend", "pause", "other")
    assert (ended.code, ended.out) == (1, "")
    assert "Backend 'other' is not being served: start the controller worker" in ended.err


async def test_an_order_that_is_not_seen_in_time_is_told(
    system: RapSystem, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signals, "SHOWN_WITHIN_S", 0.5)
    await system.start_backend()
    with pytest.raises(Unavailable, match="its state does not show it"):
        await order(client, system.slug, PAUSE, Switch(on=True), lambda row: not row.paused)
    assert (await state_of(client, system.slug)).paused


# --- database maintenance ---


@pytest.mark.spec("controller:173", "controller:174")
async def test_maintenance_prints_its_three_flags_in_order(
    system: RapSystem, rap: Operator
) -> None:
    await system.start_backend()
    slug = system.slug
    on = await rap.run("db_maintenance", "on", slug, "--disable-checks")
    row = await system.backend()
    assert on.lines == [
        f"[{slug}] mode=db-maintenance ({iso(row.maintenance_since)})",
        f"[{slug}] manual-db-maintenance=on ({iso(row.manual_since)})",
        f"[{slug}] db-maintenance-checks-disabled=true ({iso(row.checks_disabled_since)})",
    ]
    assert latest(row)[:2] == (OrderKind.MAINTENANCE_ON, "checks disabled")
    plain = await rap.run("backend", "db-maintenance", "on", slug)
    row = await system.backend()
    assert plain.lines[:3] == [
        *on.lines[:2],
        f"[{slug}] db-maintenance-checks-disabled=None ({iso(row.checks_disabled_since)})",
    ]
    assert "0 running database jobs will be stopped" in plain.lines[3]
    off = await rap.run("db_maintenance", "off", slug)
    row = await system.backend()
    assert off.lines == [
        f"[{slug}] mode=None ({iso(row.maintenance_since)})",
        f"[{slug}] manual-db-maintenance=None ({iso(row.manual_since)})",
        f"[{slug}] db-maintenance-checks-disabled=None ({iso(row.checks_disabled_since)})",
    ]


# --- flags ---


@pytest.mark.spec("controller:152", "controller:175", "controller:176")
async def test_flags_are_read_and_set_as_before(system: RapSystem, rap: Operator) -> None:
    await system.start_backend()
    slug, at = system.slug, ("--backend", system.slug)
    assert (await rap.run("flags", "get", *at)).lines == []
    assert (await rap.run("flags", "get", "foo", *at)).lines == [f"[{slug}] foo=None (never set)"]
    done = await rap.run("flags", "set", "paused=True", *at, "--create", "--why", "drill")
    (line,) = done.lines
    row = await system.backend()
    assert line == f"[{slug}] paused=true ({iso(row.paused_since)})"
    assert latest(row) == (OrderKind.PAUSE, "", "ada", "drill")
    assert (await rap.run("flags", "get", *at)).lines == [line]
    refused = await rap.run("flags", "set", "paused=", "foo", *at)
    assert (refused.code, refused.out) == (2, "")
    assert (await system.backend()).paused
    (line,) = (await rap.run("flags", "set", "paused=", *at)).lines
    assert line.startswith(f"[{slug}] paused=None (")


async def test_flags_of_maintenance_become_orders(system: RapSystem, rap: Operator) -> None:
    await system.start_backend()
    await system.tell_backend(DATABASE_MODE, DatabaseMode(maintenance=True))
    at = ("--backend", system.slug, "--json")
    words = ("mode=db-maintenance", "db-maintenance-checks-disabled=true")
    flags = (await rap.run("flags", "set", *words, *at)).document["flags"]
    assert [(flag["name"], flag["value"]) for flag in flags] == [
        ("mode", "db-maintenance"),
        ("db-maintenance-checks-disabled", "true"),
    ]
    row = await system.backend()
    assert (row.maintenance_type, row.checks_disabled) == (MaintenanceType.MANUAL, True)
    await rap.run("flags", "set", "mode=", *at)
    assert not (await system.backend()).maintenance


# --- reboot ---


@pytest.mark.spec("controller:177")
@pytest.mark.parametrize("answer", ["n\n", "", "yes\n"])
async def test_without_a_y_nothing_is_changed(
    system: RapSystem, rap: Operator, answer: Any
) -> None:
    await system.start_backend()
    ended = await rap.run("prepare_for_reboot", "--backend", system.slug, answer=answer)
    assert ended.code == 1
    assert ended.err == "Aborted; nothing was changed.\n"
    assert ended.out.startswith(
        f"== DANGER ZONE ==\n\nThis will kill all running jobs on backend '{system.slug}' and "
    )
    assert ended.out.rstrip("\n").endswith("Are you sure you want to continue? (y/N) ")
    row = await system.backend()
    assert (row.paused, row.orders) == (False, ())


@pytest.mark.spec("controller:178", "controller:180", "controller:181")
async def test_a_reboot_from_running_jobs_to_safe_and_back(
    system: RapSystem, rap: Operator
) -> None:
    slug = system.slug
    status = ("backend", "prepare-for-reboot", slug, "--status")
    async with running(system, "a", "b_c") as (host, request):
        jobs = system.jobs(request)
        assert (await rap.run(*status)).lines == [
            "",
            "== PREPARING FOR REBOOT ==",
            f"1) backend '{slug}' is not paused",
            "2) 2 job(s) are running",
            f"Backend '{slug}' is not paused. Run prepare_for_reboot, then check the status again",
        ]
        assert (await system.backend()).orders == ()
        process = await rap.start("backend", "prepare-for-reboot", slug, "--why", "kernel")
        ended = await rap.end_of(process, " Y \n")
        slugs = {name: f"ws-{name.replace('_', '-')}-{jobs[name].id}" for name in jobs}
        text = ended.out.split("(y/N) ")[1].lstrip("\n")
        row = await system.backend()
        head, flag, *rest = text.splitlines()
        assert head == f"pausing backend {slug}..."
        assert flag == f"[{slug}] paused=true ({iso(row.paused_since)})"
        assert sorted(rest) == sorted(
            line
            for one in slugs.values()
            for line in (f"resetting job {one} to PENDING", f"Killing job {one}")
        )
        await system.reaches(
            request,
            a=StatusCode.WAITING_ON_REBOOT,
            b_c=StatusCode.WAITING_ON_REBOOT,
        )
        assert sorted(host.terminated) == sorted(ids.task_id(job.id, 1) for job in jobs.values())
        await system.backend_when(lambda row: not row.slots)
        assert (await rap.run(*status)).lines == [
            "",
            "== PREPARING FOR REBOOT ==",
            f"1) backend '{slug}' is paused",
            "2) 0 job(s) are running",
            "",
            "== READY TO REBOOT ==",
            "Safe to reboot now",
        ]
        kinds = [(one.kind, one.by, one.why) for one in (await system.backend()).orders]
        assert kinds == [
            (OrderKind.PAUSE, "ada", "kernel"),
            (OrderKind.PREPARE_FOR_REBOOT, "ada", "kernel"),
        ]
        host.release("a")
        host.release("b_c")
        await rap.run("backend", "unpause", slug)
        await system.reaches(request, a=SUCCEEDED, b_c=SUCCEEDED)
        assert host.runs_of("a") == [ids.task_id(jobs["a"].id, number) for number in (1, 2)]


@dataclass
class SlowHost(StubHost):
    """An agent whose containers take long to end."""

    may_end: asyncio.Event = field(default_factory=asyncio.Event)

    @activity.defn(name=contracts.RUN_JOB.name)
    async def run_job(self, definition: JobDefinition) -> JobOutcome:
        outcome = await super().run_job(definition)
        await self.may_end.wait()
        return outcome


@pytest.mark.spec("controller:180")
async def test_jobs_that_take_their_time_to_stop_are_being_cancelled(
    system: RapSystem, rap: Operator
) -> None:
    slug = system.slug
    url = system.project(action("cancelled"), action("reset"))
    await system.start_backend()
    slow = SlowHost(slug, held={"cancelled", "reset"})
    async with slow.polling(system.client):
        await system.report(slow)
        request = system.request(url, "run_all")
        await system.create(request)
        await slow.has_started("cancelled")
        await slow.has_started("reset")
        await system.cancel(request, "cancelled")
        await system.reaches(request, cancelled=StatusCode.CANCELLED_BY_USER)
        status = ("prepare_for_reboot", "--backend", slug, "-s", "--json")
        document = (await rap.run(*status)).document
        assert document == {
            "backend": slug,
            "paused": False,
            "running": 1,
            "being_cancelled": 1,
            "ready": False,
        }
        done = await rap.run("prepare_for_reboot", "--backend", slug, "-y")
        assert "DANGER" not in done.out
        lines = (await rap.run(*status[:-1])).lines
        assert lines[2:] == [
            f"1) backend '{slug}' is paused",
            "2) 0 job(s) are running",
            "3) 2 job(s) are being cancelled",
        ]
        slow.may_end.set()
        await system.backend_when(lambda row: not row.slots)
        assert (await rap.run(*status)).document["ready"]
        slow.release("reset")
        await system.tell_backend(PAUSE, Switch(on=False))
        await system.has_ended(request)


# --- drain ---


async def test_draining_pauses_and_ends_with_the_last_running_job(
    system: RapSystem, rap: Operator
) -> None:
    async with running(system, "a") as (host, _):
        process = await rap.start("backend", "drain", system.slug)
        await told(process, "Waiting for 1 job(s) to end")
        assert (await system.backend()).paused
        host.release("a")
        ended = await rap.end_of(process)
        assert ended.code == 0
        assert f"Nothing runs on backend '{system.slug}'" in ended.out
        assert host.terminated == []
        done = await rap.run("backend", "drain", system.slug, "--json")
        assert done.document["state"]["slots"] == []


async def test_ctrl_c_ends_the_waiting_and_not_the_pause(system: RapSystem, rap: Operator) -> None:
    async with running(system, "a"):
        process = await rap.start("backend", "drain", system.slug)
        await told(process, "Waiting for 1 job(s) to end")
        process.send_signal(signal.SIGINT)
        ended = await rap.end_of(process)
        assert (ended.code, ended.err) == (130, "")
        assert f"stays paused; undo: rap backend unpause {system.slug}" in ended.out
        row = await system.backend()
        assert (row.paused, len(row.slots)) == (True, 1)


async def test_draining_gives_up_when_told_or_when_somebody_unpauses(
    system: RapSystem, rap: Operator
) -> None:
    async with running(system, "a"):
        late = await rap.run("backend", "drain", system.slug, "--timeout", "0s")
        assert late.code == 1
        assert "1 job(s) still run after 0 s" in late.err
        assert "stays paused" in late.err
        process = await rap.start("backend", "drain", system.slug)
        await told(process, "Waiting for 1 job(s) to end")
        await system.tell_backend(PAUSE, Switch(on=False))
        ended = await rap.end_of(process)
        assert ended.code == 1
        assert "Somebody has unpaused" in ended.err


async def told(process: Process, text: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while text not in (line := (await process.stdout.readline()).decode()):
            assert line, (await process.stderr.read()).decode()


# --- limits, priority, lost hosts ---


async def test_limits_are_ordered_and_given_back(system: RapSystem, rap: Operator) -> None:
    await system.start_backend(workers=4, db_workers=3)
    slug = system.slug
    done = await rap.run("backend", "limits", slug, "--workers", "7.5", "--why", "new memory")
    assert done.lines[0] == f"[{slug}] workers=7.5 db-workers=3 (ordered)"
    assert latest(await system.backend()) == (OrderKind.LIMITS, "workers 7.5", "ada", "new memory")
    done = await rap.run("backend", "limits", slug, "--reset")
    assert done.lines[0] == f"[{slug}] workers=4 db-workers=3 (as configured)"
    assert not (await system.backend()).limits_ordered


async def test_a_priority_finds_the_backend_of_its_rap(system: RapSystem, rap: Operator) -> None:
    url = system.project(action("a"))
    await system.start_backend(workers=0)
    request = system.request(url, "a")
    await system.create(request)
    await system.reaches(request, a=StatusCode.WAITING_ON_WORKERS)
    done = await rap.run("backend", "priority", request.rap_id, "1", "--why", "audit")
    (line,) = done.lines
    assert line.startswith(f"[{system.slug}] RAP {request.rap_id} has priority 1 of 1 (first)")
    assert line.endswith("1 job of it waiting.")
    row = await system.backend()
    assert row.priorities == {request.rap_id: 1}
    assert latest(row) == (OrderKind.PRIORITY, f"{request.rap_id} 1", "ada", "audit")
    usual = await rap.run("backend", "priority", request.rap_id, "3", "--json")
    assert usual.document["order"]["detail"] == f"{request.rap_id} 3"
    assert (await system.backend()).priorities == {}
    unknown = await rap.run("backend", "priority", "nothing", "1")
    assert (unknown.code, "There is no RAP nothing" in unknown.err) == (1, True)
    await system.cancel(request, "a")
    await system.reaches(request, a=StatusCode.CANCELLED_BY_USER)
    late = await rap.run("backend", "priority", request.rap_id, "1")
    assert (late.code, "have ended" in late.err) == (1, True)


async def test_a_lost_host_is_given_up_only_after_a_yes(system: RapSystem, rap: Operator) -> None:
    async with running(system, "a") as (host, _):
        command = ("backend", "host-lost", system.slug)
        unknown = await rap.run(*command, "h9")
        assert unknown.err == f"Backend '{system.slug}' has no host 'h9'; its hosts are: h1\n"
        kept = await rap.run(*command, "h1", answer="n\n")
        assert (kept.code, kept.err) == (1, "Nothing was changed.\n")
        assert "It seems to be ALIVE" in kept.out
        assert "1 job will be given up" in kept.out
        assert (await system.backend()).orders == ()
        done = await rap.run(*command, "h1", "--yes", "--why", "dead disk")
        assert done.lines == [f"[{system.slug}] host h1 is given up; 1 job will start again."]
        assert latest(await system.backend()) == (OrderKind.HOST_LOST, "h1", "ada", "dead disk")
        await system.report(host)
        await host.has_started("a", times=2)


async def test_a_dead_host_is_given_up_also_while_a_terminated_job_of_it_is_cleared_away(
    system: RapSystem, rap: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clean_up, "AT_ONCE", timedelta(hours=1))
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
    job = system.client.get_workflow_handle(job_workflow(request, "a"))
    await job.terminate("by hand")
    done = await rap.run("backend", "host-lost", system.slug, "h1", "--yes")
    assert done.lines == [f"[{system.slug}] host h1 is given up; 1 job will start again."]
    await system.reaches(request, a=StatusCode.KILLED_BY_ADMIN)
    await system.has_ended(request)
    await system.backend_when(lambda row: not row.slots)


# --- rap run, in the place of add_job ---


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Stands in for GitHub's proxy: host and port; it has one repository, opensafely/study."""
    certificate = tmp_path / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(certificate), "-out", f"{certificate}.crt"),
        ],
        check=True,
        capture_output=True,
    )
    certificate.write_bytes(certificate.read_bytes() + Path(f"{certificate}.crt").read_bytes())
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    StudyRepo(tmp_path / "served" / "opensafely" / "study").commit({"project.yaml": PROJECT})
    with serve_git(tmp_path / "served", certificate) as server:
        yield server.url.removeprefix("https://")


@pytest.mark.spec("controller:182")
async def test_a_local_repository_is_run_by_its_project_file_and_a_bad_commit_refused(
    system: RapSystem, rap: Operator, tmp_path: Path, github: str
) -> None:
    settings = ControllerSettings(
        backends=(system.slug,),
        workdir=tmp_path / "controller",
        allow_local_git_repos=True,
        docker_registry_api="none",
        github_proxy_domain=github,
    )
    git = GitCache(tmp_path / "repos", proxy_domain=github, token="", user="x")
    system.projects.real = ProjectActivities(settings, git)
    StudyRepo(tmp_path / "study").commit({"project.yaml": PROJECT})
    await system.start_backend()
    at = ("--backend", system.slug)
    try:
        async with system.host() as host:
            done = await rap.run("run", "study", "table", *at, "--workspace", "mine", "--json")
            assert done.document["count"] == 2
            jobs = {job["action"]: job for job in done.document["jobs"]}
            assert {job["status"] for job in jobs.values()} == {"succeeded"}
            assert (jobs["data"]["requires_db"], jobs["table"]["requires_db"]) == (True, False)
            assert {one.workspace for one in host.started} == {"mine"}
        url = "https://github.com/opensafely/study"
        bad = await rap.run("run", url, "table", *at, "--commit", BAD)
        assert (bad.code, bad.out) == (1, "")
        assert bad.err == f"Could not find commit on branch 'main': {BAD}\n"
    finally:
        system.projects.real = None
