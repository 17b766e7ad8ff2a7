"""The how-to of the Web UI, tried word for word: each filter finds, each signal does what it says.

All is real but the containers. Orders go through Temporal's own command, as from the Web UI.
"""

import asyncio
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client

from infra.local_system import BACKEND
from infra.temporal.cli import resolve_cli
from rap import ids
from rap.contracts.kinds import Signal
from rap.contracts.workflows import BACKEND as THE_BACKENDS
from rap.contracts.workflows import (
    BACKEND_STATE,
    DATABASE_MAINTENANCE,
    HOST_LOST,
    JOB,
    LIMITS,
    PAUSE,
    PREPARE_FOR_REBOOT,
    PRIORITISE,
    RAP,
    STATUS_CHECK,
    WORKSPACE,
)
from rap.messages.checks import DatabaseCheck
from rap.temporal.codec import DATA_CONVERTER
from rap.temporal.messages import start_workflow
from rap.temporal.start_options import start_options
from tests.support.live_system import Rap, action, eventually, make_study, write
from tests.support.quick_system import QuickSystem
from tests.support.rap_system import StubHost

pytestmark = pytest.mark.e2e

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "web-ui.md").read_text()
FILTERS = dict(re.findall(r"^\| ([^|]+) \| `([^|]+)` \|$", PAGE, re.MULTILINE))
SIGNALS = [
    (section.partition("`")[0], message)
    for section in re.split(r"^### `", PAGE, flags=re.MULTILINE)[1:]
    for message in re.findall(r"^```json\n(.*?)\n```$", section, re.MULTILINE | re.DOTALL)
]
(COMMAND,) = re.findall(r"^(temporal workflow signal .*)$", PAGE, re.MULTILINE)
THE_BACKEND = ids.backend_workflow_id(BACKEND)
CHECK = "dbstatus/test-by-hand"
HELD = {"again", "fit_model", "extract", "victim"}


class Scene:
    """Jobs that run, ended well and badly, were sent back, were terminated."""

    def __init__(self, system: QuickSystem, folder: Path) -> None:
        self.system, self._folder = system, folder
        self.again = self._run("again", again=write("again"))
        system.has_started("again")
        temporal(system, "signal", THE_BACKEND, "--name", PREPARE_FOR_REBOOT.name, "--input", "{}")
        self.again.wait_for("again", "waiting_on_reboot")
        tell(system, PAUSE.name, '{"on": false}')
        eventually(lambda: len(system.host.runs_of("again")) > 1, "it runs again")
        self.failed = self._run("third", fails=write("fails"))
        self.failed.wait_until_over()
        self.main = self._run(
            "asthma-care",
            created_by="grace",
            project="asthma",
            fails=write("fails"),
            report=write("report", needs=["fails"]),
            fit_model=write("fit_model"),
            extract=action("--output", "out.csv", "query.sql", image="sqlrunner:v1", out="out.csv"),
            victim=write("victim"),
        )
        for name in ("fit_model", "extract", "victim"):
            system.has_started(name)
        self.main.wait_for("fails", "nonzero_exit")
        temporal(system, "terminate", self.job("victim"), "--reason", "drill")
        self.main.wait_for("victim", "killed_by_admin")
        asyncio.run(self._fail_a_check())

    def job(self, name: str, rap: Rap | None = None) -> str:
        return (rap or self.main).job_workflow_id(name)

    def found(self) -> dict[str, set[str]]:
        """What each filter of the page is to find."""
        rap, workspace = self.main.workflow_id, "workspace/test/asthma-care"
        running = {self.job("fit_model"), self.job("extract")}
        jobs = running | {self.job("fails"), self.job("victim")}
        again = self.job("again", self.again)
        return {
            "running jobs of a backend": running | {again},
            "failed jobs since a day": {self.job("fails"), self.job("fails", self.failed)},
            "failed RAPs since a day": {self.failed.workflow_id},
            "everything of a workspace": {workspace, rap} | jobs,
            "everything of a RAP": {rap} | jobs,
            "all attempts of an action": {self.job("fit_model")},
            "jobs on the database": {self.job("extract")},
            "what somebody asked for": {rap},
            "what a project runs": {rap} | running,
            "what was terminated by hand": {self.job("victim")},
            "attempts that were sent back to waiting": {again},
            "backends": {THE_BACKEND},
            "checks of a database that failed": {CHECK},
        }

    def _run(self, workspace: str, **actions: Any) -> Rap:
        asked = {name: actions.pop(name) for name in ("created_by", "project") if name in actions}
        return self.system.run(
            make_study(self._folder / workspace, actions), workspace=workspace, **asked
        )

    async def _fail_a_check(self) -> None:
        client = await connect(self.system)
        check = DatabaseCheck(backend=BACKEND, image="example.org/no-image:v1")
        options = start_options(CHECK, ("", ""), backend=BACKEND)
        await start_workflow(client, STATUS_CHECK, check, options)


def temporal(system: QuickSystem, what: str, *words: str) -> str:
    """Run Temporal's command; the first word is the id of a workflow, unless it is an option."""
    named = words if words[0].startswith("-") else ("--workflow-id", *words)
    return run(system, [str(resolve_cli()), "workflow", what, *named])


def tell(system: QuickSystem, name: str, message: str) -> None:
    temporal(system, "signal", THE_BACKEND, "--name", name, "--input", message)


def run(system: QuickSystem, command: list[str] | str) -> str:
    env = {name: value for name, value in os.environ.items() if "TEMPORAL_" not in name}
    env["TEMPORAL_ADDRESS"] = system.server.address
    env["PATH"] = f"{resolve_cli().parent}:{env['PATH']}"
    done = subprocess.run(
        command,
        env=env,
        shell=isinstance(command, str),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def state(system: QuickSystem) -> dict[str, Any]:
    shown = temporal(system, "query", THE_BACKEND, "--type", BACKEND_STATE.name, "-o", "json")
    (row,) = json.loads(shown)["queryResult"]
    return dict(row)


async def connect(system: QuickSystem) -> Client:
    return await Client.connect(system.server.address, data_converter=DATA_CONVERTER)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("web-ui")
    host = StubHost(backend=BACKEND, name="main", exits={"fails": 3}, held=set(HELD))
    with QuickSystem(folder / "system", host=host) as system:
        yield Scene(system, folder)


def listed(system: QuickSystem, query: str) -> set[str]:
    found = json.loads(temporal(system, "list", "--query", query, "-o", "json") or "[]")
    return {one["execution"]["workflowId"] for one in found}


def test_every_filter_of_the_page_is_tried(scene: Any) -> None:
    assert FILTERS.keys() == scene.found().keys()


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_finds_what_the_page_says(scene: Any, name: Any) -> None:
    query = FILTERS[name].replace("RAP_ID", scene.main.rap_id)
    expected = scene.found()[name]
    eventually(lambda: listed(scene.system, query) == expected, f"{name}: {expected}", limit=30)


async def test_every_workflow_tells_what_it_is_and_how_it_stands(scene: Any) -> None:
    client = await connect(scene.system)
    kinds = {}
    # The check was started by hand.
    async for found in client.list_workflows(f"Backend = 'test' AND WorkflowId != '{CHECK}'"):
        description = await client.get_workflow_handle(found.id, run_id=found.run_id).describe()
        assert await description.static_summary(), found.id
        assert await description.static_details(), found.id
        kinds[found.workflow_type] = await details(client, found.id)
    assert kinds.keys() == {kind.name for kind in (THE_BACKENDS, JOB, RAP, WORKSPACE)}
    assert all(kinds.values())


async def details(client: Client, workflow_id: str) -> str:
    """What the Web UI shows as current details, asked for as it does."""
    handle = client.get_workflow_handle(workflow_id)
    shown = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(shown.current_details)


async def test_the_pages_lead_to_each_other_and_say_how_things_stand(scene: Any) -> None:
    client = await connect(scene.system)
    rap = await details(client, scene.main.workflow_id)
    job = quote(scene.main.job_workflow_id("fit_model"), safe="")
    assert f"[fit&#95;model](namespaces/default/workflows/{job}) | initiated" in rap
    assert "| report | dependency_failed |" in rap
    assert "killed_by_admin" in rap
    backend = await details(client, THE_BACKEND)
    assert f"(namespaces/default/workflows/{job})" in backend
    ended = await details(client, scene.job("fails"))
    assert "**nonzero_exit**" in ended
    assert "Exit code 3" in ended


def test_the_signals_of_the_page_are_those_that_operators_may_send() -> None:
    named = {name for name, _ in SIGNALS}
    assert named == {
        PAUSE.name,
        DATABASE_MAINTENANCE.name,
        LIMITS.name,
        PRIORITISE.name,
        HOST_LOST.name,
        PREPARE_FOR_REBOOT.name,
    }


EFFECTS: list[tuple[Signal[Any], Callable[..., Any]]] = [
    (PAUSE, lambda row, _: row["paused"]),
    (PAUSE, lambda row, _: not row["paused"]),
    (DATABASE_MAINTENANCE, lambda row, _: row["maintenance_type"] == "manual"),
    (DATABASE_MAINTENANCE, lambda row, _: row["maintenance"] and row["checks_disabled"]),
    (DATABASE_MAINTENANCE, lambda row, _: not (row["maintenance"] or row["checks_disabled"])),
    (LIMITS, lambda row, _: (row["max_workers"], row["max_db_workers"]) == (12, 4)),
    (LIMITS, lambda row, _: not row["limits_ordered"]),
    (PRIORITISE, lambda row, scene: row["priorities"] == {scene.main.rap_id: 1}),
    (HOST_LOST, lambda row, scene: len(scene.system.host.runs_of("fit_model")) > 1),
    (PREPARE_FOR_REBOOT, lambda row, _: row["paused"] and not row["slots"]),
]
"""What becomes of each message of the page, in its order."""


def _shows(effect: Callable[..., Any], scene: Any) -> Any:
    return effect(state(scene.system), scene)


def test_each_message_of_the_page_does_what_the_page_says(scene: Any) -> None:
    system = scene.system
    assert [signal.name for signal, _ in EFFECTS] == [name for name, _ in SIGNALS]
    for (name, message), (_, effect) in zip(SIGNALS, EFFECTS, strict=True):
        sent = message.replace("RAP_ID", scene.main.rap_id)
        tell(system, name, sent)
        eventually(partial(_shows, effect, scene), f"{name} {message}", limit=60)
        order, given = state(system)["orders"][-1], json.loads(sent)
        assert (order["by"], order["why"]) == (given["by"], given.get("why", "")), name
    run(system, COMMAND.replace("true", "false"))
    eventually(lambda: not state(system)["paused"], "the command of the page is carried out")
