"""Maintenance windows: opened and closed by Temporal's schedules."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cli.operations import windows
from cli.operations.doctor import Doctor
from cli.operations.windows import WindowPlan
from infra.temporal.dev_server import DevServer
from rap import ids
from rap.contracts.workflows import PAUSE
from rap.errors import RapError
from rap.findings import Level
from rap.messages.orders import Switch, Window
from rap.rows import OrderKind
from rap.settings import ControllerSettings
from rap.status import StatusCode
from rap.windows import WindowKind
from tests.support.rap_system import PATIENCE_S, RapSystem, action

pytestmark = pytest.mark.workflows

NEVER = "0 0 1 1 *"


def plan(system: RapSystem, kind: WindowKind, seconds: float = 3600.0) -> WindowPlan:
    window = Window(
        backend=system.slug, name="patching", kind=kind, seconds=seconds, by="ada", why="kernel"
    )
    return WindowPlan(window=window, cron=NEVER, time_zone="Europe/London")


async def open_now(system: RapSystem) -> None:
    await system.client.get_schedule_handle(ids.window_id(system.slug, "patching")).trigger()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.1)


async def test_a_window_stops_what_runs_and_lets_it_go_on_at_its_end(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend()
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await windows.add(system.client, plan(system, WindowKind.REBOOT, seconds=2.0))
        await open_now(system)
        await system.backend_when(lambda row: row.paused and not row.slots)
        host.release("a")
        await system.reaches(request, a=StatusCode.SUCCEEDED)
        await system.has_ended(request)
    assert len(host.runs_of("a")) == 2
    row = await system.backend()
    assert (row.paused, row.windows) == (False, {})
    assert [(one.kind, one.detail, one.by) for one in row.orders] == [
        (OrderKind.WINDOW_BEGINS, "patching: reboot", "ada"),
        (OrderKind.WINDOW_ENDS, "patching: reboot", "ada"),
    ]
    await windows.remove(system.client, system.slug, "patching")


async def test_a_removed_window_closes_and_an_operators_pause_outlasts_it(
    system: RapSystem,
) -> None:
    await system.start_backend()
    await windows.add(system.client, plan(system, WindowKind.MAINTENANCE))

    async def is_listed() -> bool:
        return bool(await windows.planned(system.client, system.slug))

    await eventually(is_listed)
    (listed,) = await windows.planned(system.client, system.slug)
    assert (listed.cron, listed.time_zone) == (NEVER, "Europe/London")
    assert listed.window == plan(system, WindowKind.MAINTENANCE).window
    assert listed.next_times
    with pytest.raises(RapError, match="has a window patching already"):
        await windows.add(system.client, plan(system, WindowKind.PAUSE))
    await open_now(system)
    await system.backend_when(lambda row: row.maintenance and bool(row.windows))
    await system.tell_backend(PAUSE, Switch(on=True))

    async def runs_is_known() -> bool:
        handle = system.client.get_schedule_handle(ids.window_id(system.slug, "patching"))
        return bool((await handle.describe()).info.running_actions)

    await eventually(runs_is_known)
    await windows.remove(system.client, system.slug, "patching")
    row = await system.backend_when(lambda row: not row.maintenance)
    assert (row.paused, row.windows) == (True, {})
    with pytest.raises(RapError, match="has no window patching"):
        await windows.remove(system.client, system.slug, "patching")


@pytest.mark.parametrize(
    ("kind", "command"),
    [(WindowKind.PAUSE, "unpause"), (WindowKind.MAINTENANCE, "db-maintenance off")],
)
async def test_a_window_whose_workflow_was_terminated_ends_when_it_was_to_end(
    system: RapSystem, kind: WindowKind, command: str
) -> None:
    url = system.project(action("a"))
    await system.start_backend(look_round_s=0.3, longest_history=40)
    await windows.add(system.client, plan(system, kind, seconds=20.0))
    await open_now(system)
    row = await system.backend_when(lambda row: bool(row.windows))
    began, opened = row.updated_at, row.windows["patching"]
    async with system.host() as host:
        request = system.request(url, "a")
        await system.create(request)
        await system.client.get_workflow_handle(opened.workflow_id).terminate("by hand")
        await system.backend_when(lambda row: row.windows["patching"].missing)
        await system.until(lambda: missing_is_recorded(system))
        settings = ControllerSettings(backends=(system.slug,))
        found = {
            one.subject: one
            for one in await Doctor(system.client, system.records, settings, mend=False).examine()
        }
        finding = found[f"window patching of {system.slug}"]
        assert (finding.level, opened.workflow_id in finding.text) == (Level.WARNING, True)
        assert f"rap backend {command} {system.slug}" in finding.remedy
        row = await system.backend_when(lambda row: not row.windows)
        assert (row.paused, row.maintenance) == (False, False)
        assert row.orders[-1].kind is OrderKind.WINDOW_ENDS
        assert row.orders[-1].at >= opened.until > began
        await system.reaches(request, a=StatusCode.SUCCEEDED)
        await system.has_ended(request)
    assert len(host.started) == 1
    await windows.remove(system.client, system.slug, "patching")


def missing_is_recorded(system: RapSystem) -> bool:
    row = system.records.backends([system.slug])[system.slug]
    return any(window.missing for window in row.windows.values())


async def test_the_commands_make_show_and_remove_a_window(
    system: RapSystem, temporal_server: DevServer, tmp_path: Path
) -> None:
    await system.start_backend()
    env = {
        **os.environ,
        "TEMPORAL_ADDRESS": temporal_server.address,
        "BACKENDS": system.slug,
        "SUDO_USER": "ada",
    }

    async def rap(*words: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).parent / "rap",
            *("backend", "window", *words),
            cwd=tmp_path,
            env=env,
            stdout=PIPE,
            stderr=PIPE,
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    add = ("add", system.slug, "patching", "--cron", NEVER, "--kind", "reboot")
    code, _, err = await rap(*add, "--duration", "soon")
    assert (code, "such as 90m, 4h or 1d12h" in err) == (2, True)
    code, out, err = await rap(*add, "--duration", "90m", "--why", "kernel")
    assert (code, err) == (0, "")
    assert f"Window patching of {system.slug}: reboot, 90m long, first 20" in out
    code, _, err = await rap(*add, "--duration", "90m")
    assert (code, "has a window patching already; remove it first" in err) == (1, True)

    async def is_listed() -> bool:
        return bool(await windows.planned(system.client, system.slug))

    await eventually(is_listed)
    code, out, _ = await rap("list", system.slug, "--json")
    (listed,) = json.loads(out)["windows"]
    assert listed["window"]["by"] == "ada"
    assert (listed["cron"], listed["window"]["seconds"]) == (NEVER, 5400.0)
    code, out, _ = await rap("remove", system.slug, "patching")
    assert (code, "is removed" in out) == (0, True)
    code, _, err = await rap("remove", system.slug, "patching")
    assert (code, "has no window patching" in err) == (1, True)
