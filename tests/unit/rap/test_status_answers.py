"""What a reader sees of a job and of a backend."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap.egress import SILENT_AFTER_S, AgentReport, Fault, Metrics
from rap.records import StoredJob
from rap.records.transitions import advance, born
from rap.rows import BackendRow, HoldUp, MaintenanceType, OpenWindow, QueueEntry, SlotEntry
from rap.sentences import CODE_SENTENCES
from rap.status import FINAL_CODES, State, StatusCode
from rap.status_answers import (
    BackendView,
    microseconds,
    ordinal,
    present,
    present_backends,
    shown_status,
    whole_seconds,
)
from rap.stored_jobs import AwaitedJob, StatusRow
from rap.windows import WindowKind
from tests.support import factories
from tests.support.records import CREATED_AT, backend_row, change, job_row, rap_id

pytestmark = pytest.mark.unit

RAP = rap_id()
T = CREATED_AT
ID = job_row(RAP).id
PENDING = [code for code in StatusCode if code.state is State.PENDING]
STORED_WAITING = [
    StatusCode.CREATED,
    StatusCode.WAITING_ON_DEPENDENCIES,
    StatusCode.WAITING_ON_WORKERS,
    StatusCode.WAITING_DB_MAINTENANCE,
    StatusCode.WAITING_ON_REBOOT,
    StatusCode.WAITING_ON_NEW_TASK,
]
MEMBERS = {
    "identifier",
    "rap_id",
    "backend",
    "action",
    "run_command",
    "status",
    "status_code",
    "status_message",
    "created_at",
    "updated_at",
    "started_at",
    "completed_at",
    "trace_context",
    "metrics",
    "requires_db",
}


def stored(code: StatusCode = StatusCode.CREATED, at: float = T + 60, **values: Any) -> StoredJob:
    job = born(job_row(RAP, **values))
    if code is StatusCode.CREATED:
        return job
    return advance(job, change(RAP, "analyse", code, at, 2 if code.is_reset else 1))


def view(**values: Any) -> BackendView:
    return BackendView(backend_row(**values))


def queued(job_id: str, **values: Any) -> QueueEntry:
    return factories.queued(job_id, **({"rap_id": RAP, "since": T} | values))


def slot(job_id: str, **values: Any) -> SlotEntry:
    return factories.slot(job_id, **({"rap_id": RAP, "since": T, "host": "main"} | values))


def shown(job: StoredJob, now: float = T, **backend: Any) -> tuple[str, str]:
    code, message = shown_status(job, view(**backend), now)
    return code.value, message


# --- the object ---


@pytest.mark.spec("rap-api:92", "rap-api:93", "rap-api:94", "rap-api:95")
def test_a_new_job() -> None:
    job = stored()._replace(id="cv6lbkarugdiuwus", rap_id="aaaaaaaaaaaaaaa1")
    assert job_row("aaaaaaaaaaaaaaa1").id == job.id
    assert present(job, view(), T) == {
        "identifier": "cv6lbkarugdiuwus",
        "rap_id": "aaaaaaaaaaaaaaa1",
        "backend": "test",
        "action": "analyse",
        "run_command": "python:v2 analysis.py",
        "status": "pending",
        "status_code": "created",
        "status_message": "Created",
        "created_at": "2023-11-14T22:13:20Z",
        "updated_at": "2023-11-14T22:13:20Z",
        "started_at": None,
        "completed_at": None,
        "trace_context": {},
        "metrics": {},
        "requires_db": False,
    }


def backends() -> st.SearchStrategy[BackendRow]:
    names = st.sampled_from([ID, "another", "third"])
    kinds = st.booleans()
    return st.builds(
        backend_row,
        paused=st.booleans(),
        maintenance=st.booleans(),
        hold_up=st.sampled_from(list(HoldUp)),
        queue=st.lists(st.builds(queued, names, requires_db=kinds), max_size=4).map(tuple),
        slots=st.lists(st.builds(slot, names, requires_db=kinds), max_size=4).map(tuple),
        last_seen=st.none() | st.floats(0, 2 * T),
        updated_at=st.floats(0, 2 * T),
    )


@given(
    code=st.sampled_from(list(StatusCode)),
    requires_db=st.booleans(),
    weight=st.floats(0.5, 20),
    row=st.none() | backends(),
    now=st.floats(0, 2 * T),
)
def test_whatever_the_backend_does_the_object_keeps_its_promises(
    code: StatusCode, requires_db: bool, weight: float, row: BackendRow | None, now: float
) -> None:
    job = stored(code, requires_db=requires_db, weight=weight)
    seen = present(job, BackendView(row) if row else None, now)
    assert set(seen) == MEMBERS
    shown_code = StatusCode(seen["status_code"])
    assert seen["status"] == shown_code.state.value == code.state.value
    assert seen["status_message"].startswith(CODE_SENTENCES[shown_code])
    assert seen["updated_at"] >= seen["created_at"]
    if seen["completed_at"] and seen["started_at"]:
        assert seen["completed_at"] >= seen["started_at"]


@pytest.mark.spec("rap-api:113", "rap-api:116")
@given(code=st.sampled_from(sorted(FINAL_CODES)), row=backends(), now=st.floats(0, 2 * T))
def test_a_finished_job_is_shown_as_it_is_stored_whatever_its_backend_does(
    code: StatusCode, row: BackendRow, now: float
) -> None:
    job = stored(code)
    assert present(job, BackendView(row), now) == present(job, None, T)


@pytest.mark.parametrize("code", [StatusCode.EXECUTING, StatusCode.WAITING_ON_DEPENDENCIES])
def test_the_backends_sign_of_life_is_one_of_its_unfinished_jobs(code: StatusCode) -> None:
    job = stored(code, at=T)
    shown = present(job, view(updated_at=T + 300.9), T)["updated_at"]
    assert shown == whole_seconds(T + 300)
    assert present(job, view(updated_at=T - 300), T)["updated_at"] == whole_seconds(T)


# --- what a waiting job waits for ---


@pytest.mark.parametrize("code", STORED_WAITING)
def test_all_pending_jobs_of_a_paused_backend_say_so_but_those_that_wait_for_a_reboot(
    code: StatusCode,
) -> None:
    seen = shown(stored(code, requires_db=True), paused=True, maintenance=True)
    if code is StatusCode.WAITING_ON_REBOOT:
        assert seen == ("waiting_on_reboot", "Job restarted - waiting for server to reboot")
    else:
        assert seen == (
            "paused",
            "Backend is currently paused for maintenance, job will start once this is completed",
        )


def test_a_running_job_does_not_care_for_a_pause() -> None:
    job = stored(StatusCode.EXECUTING, requires_db=True)
    assert shown(job, paused=True, maintenance=True)[0] == "executing"


@pytest.mark.parametrize("code", STORED_WAITING)
def test_maintenance_holds_pending_database_jobs_and_no_others(code: StatusCode) -> None:
    assert shown(stored(code, requires_db=True), maintenance=True) == (
        "waiting_db_maintenance",
        "Waiting for database to finish maintenance",
    )
    if code is not StatusCode.WAITING_DB_MAINTENANCE:
        other = stored(code, requires_db=False)
        assert shown(other, maintenance=True) == shown(other)


@pytest.mark.parametrize("code", [StatusCode.WAITING_ON_REBOOT, StatusCode.WAITING_DB_MAINTENANCE])
@pytest.mark.parametrize("requires_db", [True, False])
def test_a_job_that_was_sent_back_queues_again_when_its_reason_is_over(
    code: StatusCode, requires_db: bool
) -> None:
    expected = "waiting_on_db_workers" if requires_db else "waiting_on_workers"
    assert shown(stored(code, requires_db=requires_db))[0] == expected


def test_a_new_job_in_the_queue_waits_for_workers() -> None:
    assert shown(stored(), queue=(queued(ID),))[0] == "waiting_on_workers"
    assert shown(stored())[0] == "created"


@pytest.mark.spec("rap-api:98")
def test_a_job_that_waits_for_others_keeps_saying_so() -> None:
    job = stored(StatusCode.WAITING_ON_DEPENDENCIES)
    assert shown(job) == ("waiting_on_dependencies", "Waiting on dependencies")


@pytest.mark.parametrize(
    ("unfinished", "named"),
    [
        ([], ""),
        (["a"], " (a)"),
        (["a", "b", "c"], " (a, b, c)"),
        (["a", "b", "c", "d", "e"], " (a, b, c and 2 more)"),
    ],
)
@pytest.mark.parametrize("backend", [None, view()])
def test_a_job_that_waits_for_others_names_those_that_are_not_over(
    unfinished: list[Any], named: str, backend: BackendView | None
) -> None:
    row = stored(StatusCode.WAITING_ON_DEPENDENCIES)
    awaited = {"over": AwaitedJob("over", StatusCode.SUCCEEDED)}
    awaited |= {name: AwaitedJob(name, StatusCode.EXECUTING) for name in unfinished}
    fields = {name: getattr(row, name) for name in StatusRow._fields if hasattr(row, name)}
    job = StatusRow(**{**fields, "wait_for": json.dumps(["over", "gone", *unfinished])})
    assert shown_status(job, backend, T, awaited)[1] == f"Waiting on dependencies{named}"


def test_a_held_job_tells_since_when() -> None:
    since = "(since 2023-11-14T22:13:20Z)"
    paused = {"paused": True, "paused_since": T + 0.5}
    assert shown(stored(), **paused)[1] == f"{CODE_SENTENCES[StatusCode.WAITING_PAUSED]} {since}"
    stopped = stored(StatusCode.WAITING_ON_REBOOT)
    assert shown(stopped, **paused)[1] == f"{CODE_SENTENCES[StatusCode.WAITING_ON_REBOOT]} {since}"
    maintained = shown(stored(requires_db=True), maintenance=True, maintenance_since=T)
    assert maintained[1] == f"{CODE_SENTENCES[StatusCode.WAITING_DB_MAINTENANCE]} {since}"


def test_a_job_to_be_tried_again_tells_its_place_in_the_queue() -> None:
    job = stored(StatusCode.WAITING_ON_NEW_TASK)
    assert shown(job, queue=(queued(ID),)) == (
        "waiting_on_new_task",
        f"{CODE_SENTENCES[StatusCode.WAITING_ON_NEW_TASK]} (1st in the queue, no jobs running)",
    )


# --- its place in the queue ---


@pytest.mark.spec("rap-api:111")
def test_a_queued_job_tells_its_place_among_its_kind_and_what_runs() -> None:
    queue = (
        queued("x", requires_db=True),
        queued("y"),
        queued("z"),
        queued(ID),
        queued("d", requires_db=True),
    )
    slots = (*(slot(f"r{number}") for number in range(10)), slot("e", requires_db=True))
    assert shown(stored(StatusCode.WAITING_ON_WORKERS), queue=queue, slots=slots) == (
        "waiting_on_workers",
        "Waiting on available workers (3rd in the queue, 10 jobs running)",
    )
    database = stored(StatusCode.WAITING_ON_DB_WORKERS, requires_db=True)._replace(id="d")
    assert shown(database, queue=queue, slots=slots) == (
        "waiting_on_db_workers",
        "Waiting on available database workers (2nd in the queue, 1 database job running)",
    )


def test_a_heavy_job_has_its_own_sentence_unless_it_needs_the_database() -> None:
    heavy = stored(StatusCode.WAITING_ON_WORKERS, weight=2.5)
    queue = (queued(ID),)
    assert shown(heavy, queue=queue)[1] == (
        "Waiting on available workers for resource intensive job "
        "(1st in the queue, no jobs running)"
    )
    database = stored(StatusCode.WAITING_ON_DB_WORKERS, weight=2.5, requires_db=True)
    assert shown(database)[1] == "Waiting on available database workers"


def test_a_job_heavier_than_the_backend_is_told_that_it_cannot_start() -> None:
    heavy = stored(StatusCode.WAITING_ON_WORKERS, weight=2.5)
    assert shown(heavy, queue=(queued(ID),), max_workers=2)[1] == (
        "Waiting on available workers for resource intensive job "
        "(needs more workers than the backend has)"
    )


def test_a_job_that_is_not_in_the_queue_has_the_bare_sentence() -> None:
    assert shown(stored(StatusCode.WAITING_ON_WORKERS))[1] == "Waiting on available workers"


def test_a_backend_without_an_agent_is_named_as_the_reason() -> None:
    job = stored(StatusCode.WAITING_ON_WORKERS)
    assert shown(job, queue=(queued(ID),), hold_up=HoldUp.NO_AGENT)[1] == (
        "Waiting on available workers (no agent of the backend is connected)"
    )
    seen: dict[str, Any] = {
        "last_seen": float(T),
        "queue": (queued(ID),),
        "hold_up": HoldUp.NO_AGENT,
    }
    assert shown(job, **seen)[1] == (
        "Waiting on available workers "
        "(no agent of the backend is connected since 2023-11-14T22:13:20Z)"
    )


def closed(*faults: Fault, host: str = "h", at: float = T) -> AgentReport:
    return AgentReport(backend="test", host=host, at=at, closed=faults)


def test_a_backend_whose_hosts_cannot_start_jobs_says_why() -> None:
    waits: dict[str, Any] = {"queue": (queued(ID),), "updated_at": float(T), "last_seen": float(T)}
    job = stored(StatusCode.WAITING_ON_WORKERS)
    agents = (closed(Fault.ENGINE_UNAVAILABLE), closed(Fault.DISK_FULL, host="h2"))
    assert shown(job, agents=agents, **waits)[1] == (
        "Waiting on available workers (the backend cannot start it now: "
        "it has run out of disk space and its container engine does not answer)"
    )
    assert "1st in the queue" in shown(job, agents=(*agents, closed(host="h3")), **waits)[1]
    silent = closed(host="h3", at=T - SILENT_AFTER_S)
    assert "cannot start" in shown(job, agents=(*agents, silent), **waits)[1]


def test_a_backend_without_its_database_tells_the_jobs_that_need_it() -> None:
    waits: dict[str, Any] = {"updated_at": float(T), "last_seen": float(T)}
    agents = (closed(Fault.DATABASE_NETWORK_MISSING),)
    database = stored(StatusCode.WAITING_ON_DB_WORKERS, requires_db=True)
    assert shown(database, agents=agents, **waits)[1] == (
        "Waiting on available database workers "
        "(the backend cannot start it now: its database cannot be reached)"
    )
    other = stored(StatusCode.WAITING_ON_WORKERS)
    assert shown(other, agents=agents, **waits)[1] == "Waiting on available workers"


def test_a_job_held_by_a_window_without_its_workflow_tells_its_end_and_how_to_end_it() -> None:
    lost = OpenWindow(kind=WindowKind.REBOOT, until=T + 60, workflow_id="w", missing=True)
    row: dict[str, Any] = {
        "paused": True,
        "paused_since": float(T),
        "windows": {"night": lost, "other": lost.model_copy(update={"missing": False})},
        "held_by_window": (WindowKind.PAUSE,),
        "last_seen": float(T),
    }
    detail = (
        "since 2023-11-14T22:13:20Z; the workflow of maintenance window night is missing: it ends "
        "at 2023-11-14T22:14:20Z, or now with rap backend unpause test"
    )
    sentence = CODE_SENTENCES[StatusCode.WAITING_PAUSED]
    assert shown(stored(), **row) == ("paused", f"{sentence} ({detail})")
    assert "night" not in shown(stored(), **(row | {"held_by_window": ()}))[1]


def test_a_waiting_job_tells_the_silence_of_its_backend_when_nobody_updates_the_row() -> None:
    job = stored(StatusCode.WAITING_ON_WORKERS)
    row = {"last_seen": float(T), "queue": (queued(ID),)}
    assert shown(job, now=T + 180, **row)[1] == (
        "Waiting on available workers (1st in the queue, no jobs running)"
    )
    assert shown(job, now=T + 181, **row)[1] == (
        "Waiting on available workers "
        "(no agent of the backend is connected since 2023-11-14T22:13:20Z)"
    )


@pytest.mark.parametrize(
    ("code", "switches"),
    [
        (StatusCode.WAITING_ON_REBOOT, {"paused": True, "paused_since": float(T)}),
        (StatusCode.WAITING_DB_MAINTENANCE, {"maintenance": True, "maintenance_since": float(T)}),
    ],
)
def test_a_held_job_tells_the_silence_of_its_backend_as_well(
    code: StatusCode, switches: dict[str, float]
) -> None:
    job = stored(code, requires_db=True)
    assert shown(job, now=T + 241, last_seen=T + 60.0, **switches) == (
        code.value,
        CODE_SENTENCES[code]
        + " (since 2023-11-14T22:13:20Z; "
        + "no agent of the backend is connected since 2023-11-14T22:14:20Z)",
    )


# --- running jobs ---


@pytest.mark.spec("rap-api:99")
@pytest.mark.parametrize(
    ("code", "message"),
    [
        (StatusCode.INITIATED, "Job executing on the backend"),
        (StatusCode.PREPARING, "Job executing on the backend (preparing)"),
        (StatusCode.PREPARED, "Job executing on the backend (prepared)"),
        (StatusCode.EXECUTING, "Job executing on the backend"),
        (StatusCode.EXECUTED, "Job executing on the backend (executed)"),
        (StatusCode.FINALIZING, "Job executing on the backend (finalizing)"),
        (StatusCode.FINALIZED, "Job executing on the backend (finalized)"),
    ],
)
def test_a_running_job_tells_what_happens_around_its_program(
    code: StatusCode, message: str
) -> None:
    seen = present(stored(code), view(), T)
    assert (seen["status"], seen["status_code"], seen["status_message"]) == (
        "running",
        code.value,
        message,
    )


def test_a_running_job_tells_when_its_host_fell_silent() -> None:
    reports = tuple(AgentReport(backend="test", host=host, at=T) for host in ("main", "other"))
    row = {"slots": (slot(ID),), "agents": reports, "last_seen": T + 900.0}
    job = stored(StatusCode.EXECUTING)
    assert shown(job, now=T + 180, **row)[1] == "Job executing on the backend"
    assert shown(job, now=T + 181, **row)[1] == (
        "Job executing on the backend (backend out of contact since 2023-11-14T22:13:20Z)"
    )
    assert shown(stored(StatusCode.PREPARING), now=T + 181, **row)[1] == (
        "Job executing on the backend "
        "(preparing, backend out of contact since 2023-11-14T22:13:20Z)"
    )


def test_measurements_are_shown() -> None:
    metrics = Metrics(cpu_mean=12.5)
    measured = change(RAP, "analyse", StatusCode.EXECUTING, T, metrics=metrics)
    job = advance(stored(), measured)
    assert present(job, None, T)["metrics"]["cpu_mean"] == 12.5


# --- backends ---


def flags(**values: Any) -> dict[str, Any]:
    return present_backends(["test"], {"test": backend_row(**values)})[0]


@pytest.mark.spec("rap-api:49", "rap-api:50")
def test_backends_never_seen_are_shown_empty_and_in_the_given_order() -> None:
    off = {"status": "off", "since": None}
    assert present_backends(["b", "a"], {}) == [
        {
            "slug": slug,
            "last_seen": None,
            "paused": off,
            "db_maintenance": {**off, "type": None},
        }
        for slug in ("b", "a")
    ]


@pytest.mark.spec("rap-api:52")
def test_the_last_contact_has_six_digits_or_none() -> None:
    assert flags(last_seen=T + 0.123456)["last_seen"] == "2023-11-14T22:13:20.123456Z"
    assert flags(last_seen=T + 0.5)["last_seen"] == "2023-11-14T22:13:20.500000Z"
    assert flags(last_seen=float(T))["last_seen"] == "2023-11-14T22:13:20Z"
    assert microseconds(None) is None


def test_a_pause_is_on_or_off_since_its_last_change() -> None:
    since = "2023-11-14T22:13:20Z"
    assert flags(paused=True, paused_since=T)["paused"] == {"status": "on", "since": since}
    assert flags(paused=False, paused_since=T)["paused"] == {"status": "off", "since": since}


@pytest.mark.parametrize("kind", list(MaintenanceType))
def test_maintenance_has_a_type_only_while_it_is_on(kind: MaintenanceType) -> None:
    since = "2023-11-14T22:13:20Z"
    values = {"maintenance_since": T, "maintenance_type": kind}
    assert flags(maintenance=True, **values)["db_maintenance"] == {
        "status": "on",
        "since": since,
        "type": kind.value,
    }
    assert flags(maintenance=False, **values)["db_maintenance"] == {
        "status": "off",
        "since": since,
        "type": None,
    }


def test_ordinals() -> None:
    numbers = [1, 2, 3, 4, 11, 12, 13, 20, 21, 101, 111, 122]
    assert " ".join(map(ordinal, numbers)) == (
        "1st 2nd 3rd 4th 11th 12th 13th 20th 21st 101st 111th 122nd"
    )


def test_a_finished_job_is_shown_as_it_ended_whatever_its_backend_does() -> None:
    ended = CODE_SENTENCES[StatusCode.SUCCEEDED]
    assert shown(stored(StatusCode.SUCCEEDED), paused=True) == ("succeeded", ended)
