"""The API on PostgreSQL: the same answers as on SQLite, and recovery without a restart."""

from collections.abc import Iterator

import httpx
import pytest

from api.app import create_app
from rap.records import Records
from rap.records.migrations import upgrade
from rap.rows import BackendUpdate
from rap.settings import ApiSettings
from rap.status import StatusCode
from tests.support.postgres import Cluster, cluster
from tests.support.records import CREATED_AT, backend_row, changed, created, rap_id
from tests.unit.api.conftest import TOKENS, Caller, ScriptedOrchestrator, is_json, served

pytestmark = pytest.mark.unit

T = CREATED_AT
ONE, TWO, NEW = rap_id(1), rap_id(2), rap_id(3)


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[Cluster]:
    """One that may be stopped."""
    with cluster() as running:
        yield running


@pytest.fixture
def url(own_cluster: Cluster) -> str:
    database = own_cluster.new_database()
    upgrade(database)
    return database


@pytest.fixture
def caller(url: str, records: Records, settings: ApiSettings) -> Iterator[Caller]:
    app = create_app(settings, records, ScriptedOrchestrator(records), tokens=TOKENS)
    with served(app) as address, httpx.Client(base_url=address, timeout=60) as http:
        yield Caller(http, "M-token")


@pytest.fixture
def records(url: str) -> Iterator[Records]:
    opened = Records.connect(url)
    yield opened
    opened.close()


def test_a_rap_lives_there_as_on_sqlite(
    caller: Caller, records: Records, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = f"sqlite:///{tmp_path_factory.mktemp('same') / 'records.sqlite'}"
    upgrade(file)
    others = Records.connect(file)
    answers = []
    for each in (records, others):
        each.record_jobs(created(ONE, "z", "y", trace_context={"traceparent": "00-ü"}))
        needed = tuple(job.id for job in each.rap(ONE))
        each.record_jobs(created(TWO, "x", backend="tpp", wait_for=needed, requires_db=True))
        each.record_jobs(changed(ONE, "z", StatusCode.SUCCEEDED, T + 5.25))
        each.record_jobs(changed(TWO, "x", StatusCode.WAITING_ON_DEPENDENCIES, T + 2))
        row = backend_row("tpp", paused=False, last_seen=T + 0.123456)
        each.record_backend(BackendUpdate(row=row))
        app = create_app(ApiSettings(), each, ScriptedOrchestrator(each), tokens=TOKENS)
        with served(app) as address, httpx.Client(base_url=address, timeout=60) as http:
            client = Caller(http, "M-token")
            answers.append(
                [
                    client.status(TWO, NEW, ONE),
                    client.get("backend/status/").json(),
                    client.create(rap_id=NEW).json(),
                    client.create(rap_id=NEW).json(),
                    client.create(rap_id=NEW, workspace="other").json(),
                    client.cancel(NEW, "analyse").json(),
                    client.cancel(NEW, "nope").json(),
                ]
            )
    others.close()
    assert answers[0] == answers[1]
    (_, _, waiting) = answers[0][0]["jobs"]
    assert waiting["status_message"] == "Waiting on dependencies (y)"


def test_a_hundred_thousand_raps_may_be_asked_for(caller: Caller) -> None:
    ids = [f"{number:016d}" for number in range(100_000)]
    assert len(caller.status(*ids)["unrecognised_rap_ids"]) == 100_000


def test_when_the_database_comes_back_so_do_the_answers(
    caller: Caller, records: Records, own_cluster: Cluster
) -> None:
    records.record_jobs(created(ONE, "a"))
    before = caller.status(ONE)
    own_cluster.stop()
    try:
        for path, body in (
            ("rap/status/", {"rap_ids": [ONE]}),
            ("rap/cancel/", {"rap_id": ONE, "actions": ["a"]}),
        ):
            answer = caller.post(path, body)
            assert answer.status_code == 503
            assert not is_json(answer)
        answer = caller.create(rap_id=NEW)
        assert answer.status_code == 503
        assert not is_json(answer)
    finally:
        own_cluster.start()
    assert caller.status(ONE) == before
    assert caller.status(NEW)["unrecognised_rap_ids"] == [NEW], "nothing was sent"
    assert caller.create(rap_id=NEW).status_code == 201
