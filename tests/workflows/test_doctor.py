"""``rap doctor``: what nobody noticed is found, said, and mended."""

import os
import time
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import update

from cli.operations import doctor
from cli.operations.board import glance
from cli.operations.doctor import Doctor
from rap import ids
from rap.contracts.workflows import PAUSE, SLOTS
from rap.egress import Fault
from rap.findings import Finding, Level
from rap.messages.orders import Switch
from rap.messages.slots import SlotDelta, SlotHold, SlotRequest
from rap.models import CreateRequest
from rap.records import Records
from rap.records.tables import job
from rap.settings import ControllerSettings
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action, rap_workflow

pytestmark = pytest.mark.workflows

NEVER = 3600.0
KILLED = StatusCode.KILLED_BY_ADMIN


@pytest.fixture(autouse=True)
def nothing_is_too_young(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "YOUNG_S", -60.0)


async def examine(system: RapSystem, *, mend: bool = True) -> dict[str, Finding]:
    """What it finds about the test's own backend: other tests' remains are on the same server."""
    settings = ControllerSettings(backends=(system.slug,))
    own = Doctor(system.client, system.records, settings, mend=mend)
    unfinished = system.records.unfinished
    own._records = cast("Records", Own(system, unfinished))
    return {finding.subject: finding for finding in await own.examine()}


class Own:
    """The read model as if the test's backend were the only one."""

    def __init__(self, system: RapSystem, unfinished: Any) -> None:
        self._system, self._unfinished = system, unfinished

    def unfinished(self) -> Any:
        return [one for one in self._unfinished() if one.backend == self._system.slug]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._system.records, name)


async def terminate(system: RapSystem, workflow_id: str) -> None:
    await system.client.get_workflow_handle(workflow_id).terminate("by hand")


async def test_a_system_at_work_has_no_problem(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend(look_round_s=NEVER)
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        await system.until(
            lambda: any(row.agents for row in system.records.backends([system.slug]).values())
        )
        found = await examine(system)
        assert {finding.level for finding in found.values()} == {Level.OK}
        assert found[f"agents of {system.slug}"].text == "h1"
        host.release("a")
        await system.has_ended(request)
    assert len(host.started) == 1


async def test_a_read_model_that_cannot_be_used_is_said_with_its_remedy(
    system: RapSystem, tmp_path: Path
) -> None:
    file = tmp_path / "damaged.sqlite"
    file.write_bytes(os.urandom(100_000))
    records = Records.connect(f"sqlite:///{file}")
    settings = ControllerSettings(backends=(system.slug,))
    *_, found = await Doctor(system.client, records, settings, mend=True).examine()
    records.close()
    assert (found.subject, found.level) == ("read model", Level.PROBLEM)
    assert found.text == f"The read model {file} is damaged, or no database at all."
    assert found.remedy.startswith(
        "Stop the API and the controller, put it aside, and put the latest"
    )


async def test_a_host_that_cannot_start_jobs_is_named_with_its_trouble(system: RapSystem) -> None:
    await system.start_backend(look_round_s=NEVER)
    async with system.host() as host:
        await system.report(host, closed=(Fault.DISK_FULL,))
        await system.until(
            lambda: any(
                agent.closed
                for row in system.records.backends([system.slug]).values()
                for agent in row.agents
            )
        )
        finding = (await examine(system))[f"agents of {system.slug}"]
    assert finding.level is Level.WARNING
    assert finding.text == "take no jobs that this concerns: h1: disk_full"
    (row,) = system.records.backends([system.slug]).values()
    assert glance(row, time.time()).modes == "no host can start jobs"


async def test_a_rap_that_nothing_runs_any_more_is_closed_and_frees_its_workspace(
    system: RapSystem,
) -> None:
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend(look_round_s=NEVER)
    request = system.request(url, "b")
    await system.create(request)
    await system.reaches(request, a=StatusCode.WAITING_ON_WORKERS)
    await terminate(system, rap_workflow(request))
    said = await examine(system, mend=False)
    assert said[f"RAP {request.rap_id}"].level is Level.PROBLEM
    assert "dry-run" in said[f"RAP {request.rap_id}"].remedy
    assert not any(job.status_code.is_final for job in system.jobs(request).values())
    mended = await examine(system)
    assert mended[f"RAP {request.rap_id}"].level is Level.REPAIRED
    await system.reaches(request, a=KILLED, b=KILLED)
    assert (await examine(system))["RAPs"].level is Level.OK
    async with system.host():
        again = system.request(url, "b")
        assert (await system.create(again)).count == 2
        # The lost RAP's requests are still in the backend's queue, and harm nobody.
        await system.has_ended(again)


def take_back(system: RapSystem, request: CreateRequest) -> None:
    """Have readers know of the jobs only that they run, as after an older copy was put back."""
    values = {"status_code": "executing", "version": 17, "completed_at": None}
    with system.records._writing() as connection:
        connection.execute(update(job).where(job.c.rap_id == request.rap_id).values(values))


async def test_jobs_whose_workflows_have_ended_get_their_own_end(system: RapSystem) -> None:
    url = system.project(action("a"), action("b"), action("c", "b"))
    await system.start_backend(look_round_s=NEVER)
    async with system.host(exits={"b": 1}):
        request = system.request(url, "run_all")
        await system.create(request)
        await system.has_ended(request)
    before = system.jobs(request)
    take_back(system, request)
    found = (await examine(system))[f"RAP {request.rap_id}"]
    assert found.level is Level.REPAIRED
    assert "1 succeeded, 1 nonzero_exit, 1 dependency_failed" in found.text
    after = system.jobs(request)
    for name in ("a", "b", "c"):
        told = (after[name].status_code, after[name].status_message, after[name].metrics)
        assert told == (before[name].status_code, before[name].status_message, before[name].metrics)
        assert after[name].completed_at == before[name].completed_at


async def test_a_workspace_and_a_backend_that_were_terminated_are_started_again(
    system: RapSystem,
) -> None:
    url = system.project(action("a"))
    await system.start_backend(look_round_s=NEVER)
    await system.tell_backend(PAUSE, Switch(on=True, by="ada", why="disks"))
    request = system.request(url, "a")
    await system.create(request)
    await system.backend_when(lambda row: bool(row.queue))

    def recorded() -> bool:
        row = system.records.backends([system.slug]).get(system.slug)
        return row is not None and row.paused and bool(row.queue)

    await system.until(recorded)
    await terminate(system, ids.backend_workflow_id(system.slug))
    await terminate(system, ids.workspace_workflow_id(system.slug, "ws"))
    found = await examine(system)
    assert found[f"backend {system.slug}"].level is Level.REPAIRED
    assert found[f"workspace ws on {system.slug}"].level is Level.REPAIRED
    row = await system.backend_when(lambda row: bool(row.queue))
    assert row.paused
    assert [order.why for order in row.orders] == ["disks"]
    async with system.host() as host:
        await system.tell_backend(PAUSE, Switch(on=False))
        await system.has_ended(request)
    assert len(host.started) == 1


async def test_a_slot_that_nothing_uses_is_asked_about(system: RapSystem) -> None:
    url = system.project(action("a"))
    await system.start_backend(look_round_s=NEVER)
    async with system.host(held={"a"}) as host:
        request = system.request(url, "a")
        await system.create(request)
        await host.has_started("a")
        ghost = SlotRequest(
            job_id="ghost", workspace="ws", requires_db=False, created_at=0, attempt=1
        )
        held = (SlotHold(request=ghost, host=host.name),)
        await system.tell_backend(SLOTS, SlotDelta(rap_id=request.rap_id, holds=held))

        def recorded() -> bool:
            row = system.records.backends([system.slug]).get(system.slug)
            return row is not None and len(row.slots) == 2

        await system.until(recorded)
        found = await examine(system)
        assert found[f"slot of job ghost on {system.slug}"].level is Level.REPAIRED
        await system.backend_when(lambda row: len(row.slots) == 1)
        host.release("a")
        await system.has_ended(request)
