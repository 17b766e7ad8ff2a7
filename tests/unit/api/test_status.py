"""The status of RAPs and backends: the read model as clients see it
(docs/spec/rap-api.md A5, A8).
"""

import httpx
import pytest
from sqlalchemy import update

from api.app import create_app
from rap.egress import Metrics
from rap.ids import job_id
from rap.records import Records
from rap.records.engine import engine_of
from rap.records.tables import job
from rap.rows import BackendUpdate, JobChanges
from rap.settings import ApiSettings
from rap.status import StatusCode
from tests.support.records import (
    CREATED_AT,
    backend_row,
    change,
    changed,
    created,
    rap_id,
)
from tests.unit.api.conftest import TOKENS, Caller, ScriptedOrchestrator, served

pytestmark = pytest.mark.unit

T = CREATED_AT
ONE, TWO, THREE = rap_id(1), rap_id(2), rap_id(3)


@pytest.mark.spec("rap-api:90")
def test_no_raps_are_no_jobs(t: Caller) -> None:
    assert t.status() == {"jobs": [], "unrecognised_rap_ids": []}


@pytest.mark.spec("rap-api:91")
def test_an_unknown_rap_is_unrecognised_once(t: Caller) -> None:
    assert t.status(ONE, TWO, ONE)["unrecognised_rap_ids"] == [ONE, TWO]


@pytest.mark.spec("rap-api:114", "rap-api:51")
def test_a_token_sees_its_backends_and_no_others(
    t: Caller, p: Caller, m: Caller, records: Records
) -> None:
    records.record_jobs(created(ONE, "a"))
    records.record_jobs(created(TWO, "b", backend="tpp"))

    def seen(caller: Caller) -> tuple[list[str], list[str]]:
        answer = caller.status(ONE, TWO)
        return [job["action"] for job in answer["jobs"]], answer["unrecognised_rap_ids"]

    assert seen(t) == (["a"], [TWO])
    assert seen(p) == (["b"], [ONE])
    assert seen(m) == (["a", "b"], [])

    def listed(caller: Caller) -> list[str]:
        return [each["slug"] for each in caller.get("backend/status/").json()["backends"]]

    assert (listed(t), listed(p), listed(m)) == (["test"], ["tpp"], ["test", "tpp"])


@pytest.mark.spec("rap-api:115")
def test_jobs_come_by_rap_and_in_the_order_of_their_creation(t: Caller, records: Records) -> None:
    records.record_jobs(created(TWO, "z", "y", "x"))
    records.record_jobs(created(ONE, "c", "b", "a"))
    jobs = t.status(TWO, ONE)["jobs"]
    assert [(job["rap_id"], job["action"]) for job in jobs] == [
        *((ONE, action) for action in "cba"),
        *((TWO, action) for action in "zyx"),
    ]


@pytest.mark.spec("rap-api:92", "rap-api:101", "rap-api:116", "rap-api:119")
def test_a_finished_job_is_shown_in_full_and_for_ever_the_same(
    t: Caller, records: Records, records_url: str, settings: ApiSettings
) -> None:
    trace = {"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}
    records.record_jobs(created(ONE, "a", trace_context=trace, requires_db=True))
    metrics = Metrics(cpu_mean=150.0, mem_mb_peak=1024.0)
    records.record_jobs(
        JobChanges(
            changes=(
                change(ONE, "a", StatusCode.INITIATED, T + 60.5),
                change(ONE, "a", StatusCode.SUCCEEDED, T + 3661.9, metrics=metrics),
            )
        )
    )
    seen = t.status(ONE)
    assert seen["jobs"] == [
        {
            "identifier": records.rap(ONE)[0].id,
            "rap_id": ONE,
            "backend": "test",
            "action": "a",
            "run_command": "python:v2 analysis.py",
            "status": "succeeded",
            "status_code": "succeeded",
            "status_message": "Completed successfully",
            "created_at": "2023-11-14T22:13:20Z",
            "updated_at": "2023-11-14T23:14:21Z",
            "started_at": "2023-11-14T22:14:20Z",
            "completed_at": "2023-11-14T23:14:21Z",
            "trace_context": trace,
            "metrics": metrics.model_dump(),
            "requires_db": True,
        }
    ]
    records.record_backend(BackendUpdate(row=backend_row(paused=True, maintenance=True)))
    records.record_jobs(changed(ONE, "a", StatusCode.CANCELLED_BY_USER, T + 9999))
    assert t.status(ONE) == seen

    restarted = Records.connect(records_url)
    app = create_app(settings, restarted, ScriptedOrchestrator(restarted), tokens=TOKENS)
    with served(app) as url, httpx.Client(base_url=url) as client:
        assert Caller(client, "T-token").status(ONE) == seen
    restarted.close()


@pytest.mark.spec("rap-api:117")
def test_a_rap_of_years_ago_is_still_shown(t: Caller, records: Records) -> None:
    records.record_jobs(created(ONE, "a", "b", created_at=1_000_000_000))
    records.record_jobs(changed(ONE, "a", StatusCode.SUCCEEDED, 1_000_000_060))
    jobs = t.status(ONE)["jobs"]
    assert [job["created_at"] for job in jobs] == ["2001-09-09T01:46:40Z"] * 2


def test_a_pause_shows_in_all_waiting_jobs_at_once(t: Caller, records: Records) -> None:
    records.record_jobs(created(ONE, "a", "b"))
    records.record_jobs(changed(ONE, "a", StatusCode.EXECUTING, T + 1))
    records.record_backend(BackendUpdate(row=backend_row(paused=True)))
    codes = [(job["status"], job["status_code"]) for job in t.status(ONE)["jobs"]]
    assert codes == [("running", "executing"), ("pending", "paused")]
    records.record_backend(BackendUpdate(row=backend_row(version=2)))
    assert t.status(ONE)["jobs"][1]["status_code"] == "created"


def test_a_job_that_waits_names_the_jobs_it_waits_for_also_those_of_other_raps(
    t: Caller, records: Records
) -> None:
    needed = [job_id(ONE, "over"), job_id(ONE, "on"), job_id(TWO, "elsewhere"), "forgotten"]
    records.record_jobs(created(TWO, "elsewhere"))
    records.record_jobs(created(ONE, "over", "on"))
    records.record_jobs(created(THREE, "waits", wait_for=tuple(needed)))
    records.record_jobs(changed(ONE, "over", StatusCode.SUCCEEDED, T + 1))
    records.record_jobs(changed(THREE, "waits", StatusCode.WAITING_ON_DEPENDENCIES, T + 1))

    def message(*raps: str) -> str:
        return next(j for j in t.status(*raps)["jobs"] if j["action"] == "waits")["status_message"]

    assert message(THREE) == message(ONE, TWO, THREE) == "Waiting on dependencies (on, elsewhere)"
    records.record_jobs(changed(TWO, "elsewhere", StatusCode.SUCCEEDED, T + 2))
    assert message(THREE) == "Waiting on dependencies (on)"


def test_text_beyond_ascii_is_escaped(t: Caller, records: Records) -> None:
    command = "python:v2 'ü \u2028 \U0001f600 \\ \"'"
    records.record_jobs(created(ONE, "a", run_command=command))
    answer = t.post("rap/status/", {"rap_ids": [ONE]})
    assert answer.content.isascii()
    assert b"\\u00fc \\u2028 \\ud83d\\ude00" in answer.content
    assert answer.json()["jobs"][0]["run_command"] == command


def test_figures_that_json_cannot_tell_do_not_spoil_the_answer(t: Caller, records: Records) -> None:
    records.record_jobs(created(ONE, "a"))
    metrics = Metrics(cpu_mean=float("nan"), cpu_peak=float("inf"), mem_mb_mean=2.5)
    records.record_jobs(changed(ONE, "a", StatusCode.SUCCEEDED, T + 1, metrics=metrics))
    (job,) = t.status(ONE)["jobs"]
    shown = [job["metrics"][name] for name in ("cpu_mean", "cpu_peak", "mem_mb_mean")]
    assert shown == [0.0, 0.0, 2.5]


@pytest.mark.parametrize(
    "broken", [{"status_code": "of a later version"}, {"updated_at": 10**15}], ids=str
)
def test_a_broken_record_hides_its_own_rap_and_no_other(
    t: Caller, records: Records, records_url: str, broken: dict[str, object]
) -> None:
    for rap in (ONE, TWO, THREE):
        records.record_jobs(created(rap, "a", "b"))
    engine = engine_of(records_url)
    with engine.begin() as connection:
        connection.execute(update(job).where(job.c.id == job_id(TWO, "b")).values(broken))
    engine.dispose()
    seen = t.status(ONE, TWO, THREE)
    assert [each["rap_id"] for each in seen["jobs"]] == [ONE, ONE, THREE, THREE]
    assert seen["unrecognised_rap_ids"] == [], "it exists"


@pytest.mark.spec("rap-api:118")
def test_a_thousand_unknown_raps_are_answered_in_time(t: Caller) -> None:
    ids = [rap_id(number) for number in range(1000)]
    answer = t.post("rap/status/", {"rap_ids": ids}, timeout=2)
    assert answer.json()["unrecognised_rap_ids"] == ids


@pytest.mark.spec("rap-api:49", "rap-api:50")
def test_backends_never_seen_are_listed_with_everything_off(m: Caller) -> None:
    answer = m.get("backend/status/")
    assert answer.status_code == 200
    off = {"status": "off", "since": None}
    assert answer.json() == {
        "backends": [
            {
                "slug": slug,
                "last_seen": None,
                "paused": off,
                "db_maintenance": {**off, "type": None},
            }
            for slug in ("test", "tpp")
        ]
    }


@pytest.mark.spec("rap-api:52")
def test_a_backend_shows_its_last_contact_and_its_switches(t: Caller, records: Records) -> None:
    row = backend_row(paused=True, paused_since=T + 0.5, last_seen=T + 0.123456)
    records.record_backend(BackendUpdate(row=row))
    (backend,) = t.get("backend/status/").json()["backends"]
    assert backend["last_seen"] == "2023-11-14T22:13:20.123456Z"
    assert backend["paused"] == {"status": "on", "since": "2023-11-14T22:13:20.500000Z"}
