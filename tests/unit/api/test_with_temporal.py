"""The API with everything behind it but git and containers: Temporal, workflows, read model."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import httpx
import pytest
from temporalio.client import Client

from api.app import create_app
from api.offering import look_after_all
from api.services import Services
from infra.temporal.dev_server import DevServer, free_port
from rap import ids
from rap.contracts.workflows import DATABASE_MAINTENANCE, DATABASE_MODE, PAUSE
from rap.deadlines import OFFERED_AFTER_S, OFFERED_FOR_S
from rap.errors import Unavailable
from rap.messages.backends import BackendStart
from rap.messages.orders import DatabaseMode, Switch
from rap.messages.workspaces import CancelRequest
from rap.models import CreateRequest
from rap.records import Records
from rap.settings import ApiSettings
from rap.temporal.codec import DATA_CONVERTER
from tests.support.rap_system import RapSystem, action
from tests.support.records import created, intent, rap_id
from tests.unit.api.conftest import Caller, create_body, is_json, served
from tests.workflows.conftest import client, projects, records, system, temporal_server
from workflows.client import OrderLost, TemporalOrchestrator

pytestmark = pytest.mark.workflows

__all__ = ["client", "projects", "records", "system", "temporal_server"]  # fixtures

CLIENTS = ThreadPoolExecutor(max_workers=16, thread_name_prefix="client")

P = ParamSpec("P")
T = TypeVar("T")


async def away(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call in a thread of our own: the workers need the event loop, and its threads, meanwhile."""
    return await asyncio.get_running_loop().run_in_executor(CLIENTS, partial(call, *args, **kwargs))


class Api:
    """The API as the client of one test's backend sees it."""

    def __init__(self, system: RapSystem, http: httpx.Client, services: Services) -> None:
        self.system, self.http, self.services = system, http, services
        self.caller = Caller(http, "token")

    async def create(self, url: str, *actions: str, **values: Any) -> httpx.Response:
        body = create_body(
            backend=self.system.slug, repo_url=url, requested_actions=list(actions), **values
        )
        return await away(self.caller.post, "rap/create/", body)

    async def cancel(self, rap: str, *actions: str) -> httpx.Response:
        return await away(self.caller.cancel, rap, *actions)

    async def status(self, *raps: str) -> dict[str, Any]:
        return await away(self.caller.status, *raps)

    async def jobs(self, rap: str) -> dict[str, dict[str, Any]]:
        return {job["action"]: job for job in (await self.status(rap))["jobs"]}

    async def flags(self) -> dict[str, Any]:
        answer = await away(self.caller.get, "backend/status/")
        (backend,) = answer.json()["backends"]
        return backend

    async def until(self, true: Callable[[dict[str, Any]], bool], rap: str = "") -> dict[str, Any]:
        """Ask for a RAP's jobs, or for the backend, until something is true of the answer."""
        async with asyncio.timeout(60):
            while True:
                seen = await self.jobs(rap) if rap else await self.flags()
                if true(seen):
                    return seen
                await asyncio.sleep(0.03)

    async def reaches(self, rap: str, **codes: Any) -> dict[str, dict[str, Any]]:
        """Wait until jobs show these codes, by action; returns all jobs."""
        return await self.until(
            lambda jobs: all(jobs[name]["status_code"] == code for name, code in codes.items()), rap
        )


@pytest.fixture
def patience() -> float:
    return 25


@pytest.fixture
async def api(
    system: RapSystem, records: Records, temporal_server: DevServer, patience: float
) -> AsyncIterator[Api]:
    orchestrator = TemporalOrchestrator(connector(temporal_server.address), within=patience)
    settings = ApiSettings().model_copy(update={"rap_api_timeout": patience})
    app = create_app(settings, records, orchestrator, tokens={"token": (system.slug,)})
    with served(app) as url, httpx.Client(base_url=url, timeout=40) as http:
        # Out of its own event loop a client must not be used, so tests that ask directly get one.
        own = TemporalOrchestrator(connector(temporal_server.address), within=patience)
        yield Api(system, http, Services(app.state.services.tokens, records, own, patience))


def connector(address: str) -> Callable[[], Any]:
    async def connect() -> Client:
        try:
            return await Client.connect(address, data_converter=DATA_CONVERTER)
        except RuntimeError as error:
            raise Unavailable("Temporal does not answer.") from error

    return connect


def seconds_of(moment: str) -> str:
    """A time of a backend as jobs show it."""
    return re.sub(r"\.\d+", "", moment)


@pytest.fixture
def rap() -> str:
    return rap_id(time.time_ns() % 10**16)


# --- create ---


@pytest.mark.spec("rap-api:60", "rap-api:89", "rap-api:92", "rap-api:99", "rap-api:101")
async def test_a_rap_runs_from_its_create_to_its_end(api: Api, rap: str) -> None:
    await api.system.start_backend()
    url = api.system.project(action("data", db=True), action("model", "data"))
    async with api.system.host(held={"data"}) as host:
        answer = await api.create(url, "model", rap_id=rap)
        assert (answer.status_code, answer.json()["count"]) == (201, 2)
        assert list(await api.jobs(rap)) == ["data", "model"], "visible at once, in order"

        jobs = await api.reaches(rap, data="initiated", model="waiting_on_dependencies")
        assert jobs["data"]["status"] == "running"
        assert jobs["data"]["status_message"] == "Job executing on the backend"
        assert jobs["data"]["started_at"] is not None
        assert jobs["model"]["status_message"] == "Waiting on dependencies (data)"

        host.release("data")
        jobs = await api.reaches(rap, data="succeeded", model="succeeded")
    for job in jobs.values():
        assert len(job) == 15
        assert job["status_message"] == "Completed successfully"
        assert job["started_at"] <= job["completed_at"]
        assert job["metrics"]["cpu_mean"] == 1.5
        assert job["trace_context"]["traceparent"].startswith("00-")


@pytest.mark.spec("rap-api:64")
async def test_of_a_hundred_simultaneous_creates_one_makes_the_jobs(api: Api, rap: str) -> None:
    url = api.system.project(action("a"), action("b", "a"))
    answers = await asyncio.gather(*(api.create(url, "b", rap_id=rap) for _ in range(100)))
    results = sorted((each.status_code, each.json()["result"]) for each in answers)
    assert results == [*[(200, "No change")] * 99, (201, "Success")]
    assert {each.json()["count"] for each in answers} == {2}
    assert len((await api.status(rap))["jobs"]) == 2


@pytest.mark.spec("rap-api:65", "rap-api:68", "rap-api:78", "rap-api:79")
async def test_the_second_rap_for_an_action_has_nothing_to_do_until_the_first_ended(
    api: Api, rap: str
) -> None:
    await api.system.start_backend()
    url = api.system.project(action("a"))
    other = rap_id(int(rap) + 1)
    pair = await asyncio.gather(*(api.create(url, "a", rap_id=each) for each in (rap, other)))
    assert sorted(each.status_code for each in pair) == [200, 201]
    nothing = next(each.json() for each in pair if each.status_code == 200)
    assert nothing["details"] == "All requested actions were already scheduled to run"
    assert (nothing["result"], nothing["count"]) == ("Nothing to do", 0)
    loser = nothing["rap_id"]
    winner = other if loser == rap else rap
    assert await api.status(loser) == {"jobs": [], "unrecognised_rap_ids": [loser]}
    assert (await api.cancel(loser, "a")).status_code == 404
    async with api.system.host():
        await api.reaches(winner, a="succeeded")
        # The workspace hears of the end after its readers.
        async with asyncio.timeout(30):
            while (await api.create(url, "a", rap_id=loser)).status_code != 201:
                await asyncio.sleep(0.05)
        await api.reaches(loser, a="succeeded")


@pytest.mark.spec("rap-api:80")
async def test_an_unknown_action_is_refused_and_nothing_stored(api: Api, rap: str) -> None:
    url = api.system.project(action("a"))
    answer = await api.create(url, "a", "nope", rap_id=rap)
    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "Error creating jobs",
            "details": "Action 'nope' not found in project.yaml",
        },
    )
    assert await api.status(rap) == {"jobs": [], "unrecognised_rap_ids": [rap]}


@pytest.mark.spec("rap-api:87")
async def test_an_unforeseen_failure_is_an_unknown_error(
    api: Api, rap: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = api.system.project(action("a"))
    api.system.projects.broken.add(url)
    with caplog.at_level(logging.CRITICAL):
        answer = await api.create(url, "a", rap_id=rap)
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "Error creating jobs", "details": "Unknown error"},
    )
    assert await api.status(rap) == {"jobs": [], "unrecognised_rap_ids": [rap]}


# --- cancel ---


@pytest.mark.spec(
    "rap-api:123", "rap-api:125", "rap-api:126", "rap-api:127", "rap-api:128", "rap-api:131"
)
async def test_cancelled_jobs_end_and_the_independent_ones_go_on(api: Api, rap: str) -> None:
    await api.system.start_backend()
    url = api.system.project(
        action("running"), action("after", "running"), action("other"), action("late", "other")
    )
    async with api.system.host(held={"running", "other"}) as host:
        await api.create(url, "run_all", rap_id=rap)
        before = await api.reaches(
            rap, running="initiated", other="initiated", late="waiting_on_dependencies"
        )
        for _ in range(2):
            answer = await api.cancel(rap, "running", "late")
            assert (answer.status_code, answer.json()["details"]) == (200, "2 actions cancelled")
        jobs = await api.reaches(
            rap, running="cancelled_by_user", after="dependency_failed", late="cancelled_by_user"
        )
        for name in ("running", "late"):
            assert jobs[name]["status"] == "failed"
            assert jobs[name]["status_message"] == "Cancelled by user"
            assert jobs[name]["completed_at"] is not None
        assert jobs["running"]["started_at"] == before["running"]["started_at"]
        assert jobs["late"]["started_at"] is None
        await api.system.until(lambda: bool(host.terminated))
        host.release("other")
        await api.reaches(rap, other="succeeded")


@pytest.mark.spec("rap-api:129")
async def test_cancelling_a_finished_job_leaves_it_as_it_is(api: Api, rap: str) -> None:
    await api.system.start_backend()
    url = api.system.project(action("a"))
    async with api.system.host():
        await api.create(url, "a", rap_id=rap)
        finished = await api.reaches(rap, a="succeeded")
    assert (await api.cancel(rap, "a")).status_code == 200
    assert await api.jobs(rap) == finished


async def test_jobs_are_cancelled_though_an_operator_terminated_their_workspace(
    api: Api, rap: str
) -> None:
    await api.system.start_backend()
    url = api.system.project(action("a"))
    async with api.system.host(held={"a"}):
        await api.create(url, "a", rap_id=rap)
        await api.reaches(rap, a="initiated")
        workspace = ids.workspace_workflow_id(api.system.slug, "workspace")
        await api.system.client.get_workflow_handle(workspace).terminate()
        assert (await api.cancel(rap, "a")).status_code == 200
        await api.reaches(rap, a="cancelled_by_user")


async def test_a_rap_whose_workspace_is_gone_can_be_cancelled_all_the_same(
    api: Api, rap: str
) -> None:
    rows = created(rap, "a", backend=api.system.slug, workspace="forgotten")
    await away(api.system.records.record_jobs, rows)
    assert (await api.cancel(rap, "a")).status_code == 200


# --- backend ---


@pytest.mark.spec(
    "rap-api:52",
    "rap-api:53",
    "rap-api:54",
    "rap-api:55",
    "rap-api:56",
    "rap-api:57",
    "rap-api:58",
    "rap-api:59",
)
async def test_the_switches_of_a_backend_and_their_times(api: Api) -> None:
    system = api.system
    await system.start_backend()
    async with system.host():
        await api.until(lambda seen: seen["last_seen"] is not None)

    await system.tell_backend(PAUSE, Switch(on=True))
    on = await api.until(lambda seen: seen["paused"]["status"] == "on")
    await system.tell_backend(PAUSE, Switch(on=True))
    await system.tell_backend(DATABASE_MODE, DatabaseMode(maintenance=True))
    found = await api.until(lambda seen: seen["db_maintenance"]["status"] == "on")
    assert found["paused"]["since"] == on["paused"]["since"] is not None
    assert found["db_maintenance"]["type"] == "scheduled"

    await system.tell_backend(PAUSE, Switch(on=False))
    off = await api.until(lambda seen: seen["paused"]["status"] == "off")
    assert off["paused"]["since"] > on["paused"]["since"]

    await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=True))
    manual = await api.until(lambda seen: seen["db_maintenance"]["type"] == "manual")
    assert manual["db_maintenance"]["since"] == found["db_maintenance"]["since"]
    await system.tell_backend(DATABASE_MODE, DatabaseMode(maintenance=False))
    await system.tell_backend(PAUSE, Switch(on=True))  # so that the next row is awaited
    still = await api.until(lambda seen: seen["paused"]["status"] == "on")
    assert still["db_maintenance"] == manual["db_maintenance"]

    await system.tell_backend(DATABASE_MAINTENANCE, Switch(on=False))
    ended = await api.until(lambda seen: seen["db_maintenance"]["status"] == "off")
    assert ended["db_maintenance"]["type"] is None
    assert ended["db_maintenance"]["since"] > found["db_maintenance"]["since"]


@pytest.mark.spec("rap-api:108")
async def test_a_paused_backend_holds_its_pending_jobs(api: Api, rap: str) -> None:
    await api.system.start_backend()
    url = api.system.project(action("a"), action("b", "a"))
    async with api.system.host(held={"a"}) as host:
        await api.create(url, "b", rap_id=rap)
        await api.reaches(rap, a="initiated")
        await api.system.tell_backend(PAUSE, Switch(on=True))
        jobs = await api.reaches(rap, a="initiated", b="paused")
        assert jobs["b"]["status_message"] == (
            "Backend is currently paused for maintenance, job will start once this is completed "
            f"(since {seconds_of((await api.flags())['paused']['since'])})"
        )
        host.release("a")
        await api.reaches(rap, a="succeeded", b="paused")
        assert host.runs_of("b") == []
        await api.system.tell_backend(PAUSE, Switch(on=False))
        await api.reaches(rap, b="succeeded")


@pytest.mark.spec("rap-api:111")
async def test_jobs_without_a_free_worker_tell_their_place_in_the_queue(api: Api, rap: str) -> None:
    await api.system.start_backend(workers=1, db_workers=0)
    names = ["a", "b", "c"]
    url = api.system.project(*map(action, names), action("data", db=True))
    async with api.system.host(held=set(names)):
        await api.create(url, "run_all", rap_id=rap)
        jobs = await api.until(
            lambda jobs: sum("queue" in job["status_message"] for job in jobs.values()) == 2, rap
        )
    messages = {job["status_message"] for job in jobs.values() if job["status"] == "pending"}
    assert messages == {
        "Waiting on available workers (1st in the queue, 1 job running)",
        "Waiting on available workers (2nd in the queue, 1 job running)",
        "Waiting on available database workers (needs more workers than the backend has)",
    }
    assert {job["status_code"] for job in jobs.values()} == {
        "initiated",
        "waiting_on_workers",
        "waiting_on_db_workers",
    }


@pytest.mark.spec("rap-api:112")
async def test_a_job_that_runs_for_long_or_waits_shows_signs_of_life(api: Api, rap: str) -> None:
    assert BackendStart.model_fields["look_round_s"].default <= 60
    await api.system.start_backend(workers=1, look_round_s=0.2)
    url = api.system.project(action("a"), action("b"))
    async with api.system.host(held={"a", "b"}):
        await api.create(url, "run_all", rap_id=rap)
        before = await api.until(
            lambda jobs: {job["status"] for job in jobs.values()} == {"pending", "running"}, rap
        )
    # Nobody reports any more.
    after = await api.until(
        lambda jobs: all(jobs[name]["updated_at"] > before[name]["updated_at"] for name in jobs),
        rap,
    )
    for name, job in after.items():
        assert job["status_code"] == before[name]["status_code"]


# --- when answers are lost ---


class TestImpatientApi:
    @pytest.fixture
    def patience(self) -> float:
        return 1.0

    @pytest.mark.spec("rap-api:88", "rap-api:136")
    async def test_a_create_that_takes_too_long_is_undecided_and_then_shown(
        self, api: Api, rap: str
    ) -> None:
        url = api.system.project(action("a"))
        gate = api.system.projects.gates[url] = asyncio.Event()
        answer = await api.create(url, "a", rap_id=rap)
        assert answer.status_code == 503
        assert not is_json(answer)
        assert await api.status(rap) == {"jobs": [], "unrecognised_rap_ids": []}
        gate.set()
        await api.until(lambda jobs: "a" in jobs, rap)


async def announced(api: Api, url: str, rap: str, *, ago: float) -> CreateRequest:
    """A create of some seconds ago that nobody has decided on."""
    request = api.system.request(url, "a", rap_id=rap, workspace="workspace")
    records = api.system.records
    _, now = await away(records.undecided)
    standing = await away(
        records.announce,
        intent(
            rap,
            backend=api.system.slug,
            workspace=request.workspace,
            request=request.model_dump_json(),
            created_at=now - ago,
        ),
    )
    return request.model_copy(update={"number": standing.number})


@pytest.mark.spec("rap-api:88")
async def test_a_create_that_could_not_be_decided_is_carried_through_by_the_system(
    api: Api, rap: str
) -> None:
    url = api.system.project(action("a"))
    api.system.projects.passing[url] = 3
    answer = await api.create(url, "a", rap_id=rap)
    assert answer.status_code == 503
    assert not is_json(answer)
    assert await api.status(rap) == {"jobs": [], "unrecognised_rap_ids": []}
    await announced(api, url, rap, ago=OFFERED_AFTER_S)
    await look_after_all(api.services)
    assert "a" in await api.jobs(rap)


async def test_a_create_that_was_undecided_for_long_is_given_up_and_a_late_one_refused(
    api: Api, rap: str
) -> None:
    url = api.system.project(action("a"))
    late = await announced(api, url, rap, ago=OFFERED_FOR_S)
    assert (await api.status(rap))["unrecognised_rap_ids"] == []
    await look_after_all(api.services)
    assert (await api.status(rap))["unrecognised_rap_ids"] == [rap]
    await api.services.orchestrator.create(late)
    assert (await api.status(rap)) == {"jobs": [], "unrecognised_rap_ids": [rap]}
    answer = await api.create(url, "a", rap_id=rap)
    assert answer.status_code == 201


# --- Temporal comes and goes ---


@pytest.mark.spec("rap-api:88")
async def test_orders_are_lost_while_temporal_is_away_and_taken_when_it_is_back(
    tmp_path: Path,
) -> None:
    port = free_port()
    orchestrator = TemporalOrchestrator(connector(f"127.0.0.1:{port}"), within=2)
    request = CancelRequest(rap_id=rap_id(), actions=("a",))

    async def cancel() -> int:
        return (await orchestrator.cancel("test", "nowhere", request)).cancelled

    for _ in range(2):
        with pytest.raises(OrderLost):
            await cancel()
    server = DevServer(db=tmp_path / "temporal.sqlite", port=port)
    with server.running():
        assert await cancel() == 0
        server.kill()
        with pytest.raises(OrderLost):
            await cancel()
        server.start()
        assert await cancel() == 0
