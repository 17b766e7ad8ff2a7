"""``rap doctor``: what nobody noticed is found, said, and mended."""

import pytest

from rap import ids
from rap.findings import Finding, Level
from rap.messages import SlotDelta, SlotHold, SlotRequest, Switch
from rap.settings import ControllerSettings
from rap.status import StatusCode
from tests.support.rap_system import RapSystem, action
from worker_controller import doctor
from worker_controller.doctor import Doctor

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
    own._records = Own(system, unfinished)
    return {finding.subject: finding async for finding in own.examine()}


class Own:
    """The read model as if the test's backend were the only one."""

    def __init__(self, system: RapSystem, unfinished) -> None:
        self._system, self._unfinished = system, unfinished

    def unfinished(self):
        return [one for one in self._unfinished() if one.job.backend == self._system.slug]

    def __getattr__(self, name: str):
        return getattr(self._system.records, name)


async def terminate(system: RapSystem, workflow_id: str) -> None:
    await system.client.get_workflow_handle(workflow_id).terminate("by hand")


async def test_a_system_at_work_has_no_problem(system: RapSystem):
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


async def test_a_rap_that_nothing_runs_any_more_is_closed_and_frees_its_workspace(
    system: RapSystem,
):
    url = system.project(action("a"), action("b", "a"))
    await system.start_backend(look_round_s=NEVER)
    request = system.request(url, "b")
    await system.create(request)
    await system.reaches(request, a=StatusCode.WAITING_ON_WORKERS)
    await terminate(system, ids.rap_workflow_id(request.rap_id))
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


async def test_a_workspace_and_a_backend_that_were_terminated_are_started_again(
    system: RapSystem,
):
    url = system.project(action("a"))
    await system.start_backend(look_round_s=NEVER)
    await system.tell_backend("pause", Switch(on=True, by="ada", why="disks"))
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
        await system.tell_backend("pause", Switch(on=False))
        await system.has_ended(request)
    assert len(host.started) == 1


async def test_a_slot_that_nothing_uses_is_asked_about(system: RapSystem):
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
        await system.tell_backend("slots", SlotDelta(rap_id=request.rap_id, holds=held))

        def recorded() -> bool:
            row = system.records.backends([system.slug]).get(system.slug)
            return row is not None and len(row.slots) == 2

        await system.until(recorded)
        found = await examine(system)
        assert found[f"slot of job ghost on {system.slug}"].level is Level.REPAIRED
        await system.backend_when(lambda row: len(row.slots) == 1)
        host.release("a")
        await system.has_ended(request)
