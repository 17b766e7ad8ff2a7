"""``rap backend list|show``, ``rap queue``, ``rap jobs`` and the usage of operators' commands."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cli.backend.orders import Operator
from cli.main import run_app
from rap.egress import AgentReport
from rap.errors import ConfigurationError
from rap.records import Records
from rap.rows import (
    BackendRow,
    HoldUp,
    MaintenanceType,
    OrderEntry,
    OrderKind,
    QueueEntry,
    SlotEntry,
)
from rap.status import StatusCode
from tests.support import command_line
from tests.support.records import backend_row, backend_update, changed, created, rap_id

pytestmark = pytest.mark.unit
ONE, TWO = rap_id(1), rap_id(2)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with command_line.alone(tmp_path, monkeypatch):
        os.environ["BACKENDS"] = "test,tpp"
        yield


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with command_line.read_model(tmp_path) as records:
        yield records


def write(records: Records, row: BackendRow) -> None:
    records.record_backend(backend_update(row))


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run_app([*arguments]) == 0
    return capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict:
    return json.loads(shown(capsys, *arguments, "--json"))


# --- usage ---


def test_the_names_of_before_are_not_advertised(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--help")
    assert "db_maintenance" not in text
    assert "backend" in text


@pytest.mark.spec("controller:184")
@pytest.mark.parametrize(
    "arguments",
    [
        ["backend", "show", "foo"],
        ["backend", "pause", "foo"],
        ["backend", "db-maintenance", "on", "foo"],
        ["backend", "prepare-for-reboot", "foo", "--yes"],
        ["backend", "prepare-for-reboot", "foo", "--status"],
        ["backend", "drain", "foo"],
        ["backend", "limits", "foo", "--reset"],
        ["backend", "host-lost", "foo", "h1", "--yes"],
        ["flags", "get", "--backend", "foo"],
        ["flags", "set", "paused=true", "--backend", "foo"],
        ["queue", "foo"],
        ["watch", "foo"],
        ["jobs", "--backend", "foo"],
        ["pause", "on", "foo"],
        ["db_maintenance", "off", "foo"],
        ["prepare_for_reboot", "--backend", "foo"],
    ],
    ids=" ".join,
)
def test_an_unknown_backend_is_a_usage_error_that_lists_the_known_ones(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(arguments) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "Invalid backend 'foo', allowed are: test, tpp\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["backend", "limits", "test"], "give --workers"),
        (["backend", "limits", "test", "--workers", "1", "--reset"], "give --workers"),
        (["backend", "limits", "test", "--workers", "-1"], "--workers"),
        (["backend", "limits", "test", "--workers", "inf"], "finite"),
        (["backend", "limits", "test", "--workers", "nan"], "--workers"),
        (["backend", "priority", ONE, "6"], "1-5"),
        (["backend", "db-maintenance", "off", "test", "--disable-checks"], "--disable-checks"),
        (["backend", "drain", "test", "--timeout", "soon"], "--timeout must be"),
        (["backend", "pause", "test", "--why", "x" * 501], "--why may have 500"),
        (["jobs", "--since", "soon"], "--since must be"),
        (["pause", "maybe", "test"], "maybe"),
    ],
)
def test_wrong_usage_names_the_option(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(arguments) == 2
    captured = capsys.readouterr()
    assert told in " ".join(captured.err.replace("│", " ").split())
    assert captured.out == ""


@pytest.mark.spec("controller:176")
def test_a_flag_without_a_value_is_a_usage_error_on_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_app(["flags", "set", "foo", "--backend", "test"]) == 2
    told = capsys.readouterr()
    assert "invalid parse_cli_flag value" in told.err
    assert told.out == ""


def test_without_temporal_an_order_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    os.environ["TEMPORAL_ADDRESS"] = "127.0.0.1:1"
    assert run_app(["backend", "pause", "TEST"]) == 1
    assert "Temporal does not answer at 127.0.0.1:1" in capsys.readouterr().err


def test_who_orders_is_the_person_behind_sudo_or_the_one_who_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOGNAME", "bob")
    assert Operator(backend="test").by == "bob"
    monkeypatch.setenv("SUDO_USER", "ada")
    operator = Operator(backend="test", why="why")
    assert (operator.by, operator.why) == ("ada", "why")
    assert Operator(backend="test", by="carol").by == "carol"
    with pytest.raises(ConfigurationError):
        Operator(backend="test", why="x" * 501)


# --- rap backend list, show ---


def full_row() -> BackendRow:
    now = time.time()
    return backend_row(
        "tpp",
        paused=True,
        paused_since=now - 60,
        maintenance=True,
        maintenance_type=MaintenanceType.MANUAL,
        maintenance_since=now - 50,
        checks_disabled=True,
        checks_disabled_since=now - 50,
        hold_up=HoldUp.PAUSED,
        max_workers=3,
        limits_ordered=True,
        priorities={ONE: 1},
        last_seen=now - 5,
        agents=(
            AgentReport(backend="tpp", host="h1", at=now - 5, engine="20.10", room=7, version="v9"),
            AgentReport(backend="tpp", host="h2", at=now - 500, free_disk_bytes=3 << 30),
        ),
        slots=(
            SlotEntry(
                job_id="j", rap_id=ONE, workspace="w", requires_db=True, host="h1", since=now
            ),
        ),
        queue=(QueueEntry(job_id="k", rap_id=ONE, workspace="w", requires_db=False, since=now),),
        orders=(
            OrderEntry(at=now - 90, kind=OrderKind.LIMITS, detail="workers 3", by="bob"),
            OrderEntry(at=now - 60, kind=OrderKind.PAUSE, by="ada", why="disk"),
        ),
    )


def test_backends_are_listed_in_a_line_each_also_those_never_seen(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    write(records, full_row())
    head, test, tpp = shown(capsys, "backend", "list").splitlines()
    assert head.split()[:2] == ["backend", "state"]
    assert "no agent" in test
    assert "never" in test
    assert "paused, db-maintenance (manual), checks disabled" in tpp
    assert "0 of 3 (ordered)" in tpp
    assert "1 of 10" in tpp
    assert "1 + 1 silent" in tpp
    first, second = document(capsys, "backend", "list")["backends"]
    assert (first["backend"], first["agents"]) == ("test", 0)
    assert (second["paused"], second["running"], second["waiting"]) == (True, 1, 1)


def test_a_backend_is_shown_with_its_agents_and_who_ordered_what_and_why(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    write(records, full_row())
    text = shown(capsys, "backend", "show", "TPP")
    assert "h1: version v9, Docker 20.10, free disk unknown, 0 running, room for 7 more" in text
    assert "h2: version unknown, Docker does not answer, 3.0 GiB free" in text
    assert text.count("OUT OF CONTACT") == 1
    assert f"1 for RAP {ONE}" in text
    orders = text.split("Orders, the latest first\n")[1].splitlines()
    assert [line.split("  ")[-1] for line in orders] == [
        "pause by ada: disk",
        "limits workers 3 by bob",
    ]
    state = document(capsys, "backend", "show", "tpp")["state"]
    assert state["orders"][-1]["why"] == "disk"
    assert state["checks_disabled"]


def test_a_backend_that_nothing_is_known_of_is_told_as_such(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["backend", "show", "test"]) == 1
    assert "Nothing is known of backend 'test' yet" in capsys.readouterr().err


# --- rap queue ---


@pytest.fixture
def busy(records: Records) -> Records:
    """One job runs, two wait for a slot, one waits for another job; one has ended."""
    now = time.time()
    done = created(rap_id(9), "slow", workspace="ws")
    records.record_jobs(done)
    for code, at in ((StatusCode.INITIATED, now - 9000), (StatusCode.SUCCEEDED, now - 7800)):
        records.record_jobs(changed(rap_id(9), "slow", code, at))
    rows = created(ONE, "slow", "next", "last", "after", workspace="ws", requires_db=False)
    records.record_jobs(rows)
    jobs = {job.action: job.id for job in rows.created.jobs}
    records.record_jobs(changed(ONE, "slow", StatusCode.INITIATED, now - 600))
    for action in ("next", "last"):
        records.record_jobs(changed(ONE, action, StatusCode.WAITING_ON_WORKERS, now - 500))
    records.record_jobs(changed(ONE, "after", StatusCode.WAITING_ON_DEPENDENCIES, now - 500))
    common = {"rap_id": ONE, "workspace": "ws", "requires_db": False}
    write(
        records,
        backend_row(
            max_workers=1,
            last_seen=now,
            agents=(AgentReport(backend="test", host="h1", at=now),),
            slots=(SlotEntry(job_id=jobs["slow"], host="h1", since=now - 600, **common),),
            queue=tuple(
                QueueEntry(job_id=jobs[name], since=now - 500, **common)
                for name in ("next", "last")
            ),
        ),
    )
    return records


def test_the_queue_shows_who_runs_who_waits_why_and_until_when(
    busy: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    head, _, *lines = shown(capsys, "queue", "test").rstrip().splitlines()
    assert head.startswith("test: open; workers 1 of 1")
    slow, following, last, after = lines
    assert slow.split()[:3] == ["runs", "ws", "slow"]
    assert "10 min more" in slow
    assert "on h1: Job executing on the backend" in slow
    assert following.split()[:3] == ["1", "ws", "next"]
    assert "about 10 min" in following
    assert "Waiting on available workers (1st in the queue, 1 job running)" in following
    assert "about 30 min" in last
    assert after.split()[:3] == ["-", "ws", "after"]
    assert "Waiting on dependencies" in after


def test_the_queue_as_a_document_has_estimates_in_seconds_or_null(
    busy: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    (test,) = document(capsys, "queue", "test")["backends"]
    (runs,) = test["running"]
    assert (runs["action"], runs["host"]) == ("slow", "h1")
    assert 590 <= runs["likely_end_in_s"] <= 600
    first, _, after = test["waiting"]
    assert 590 <= first["likely_start_in_s"] <= 600
    assert (after["likely_start_in_s"], after["since"]) == (None, None)


def test_a_long_queue_is_cut_on_a_terminal_unless_all_is_asked_for(
    busy: Records, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.queue.MOST_LINES", 1)
    text = shown(capsys, "queue")
    assert "next" in text
    assert "… and 2 more that wait; --all shows them" in text
    assert "after" in shown(capsys, "queue", "--all")


def test_without_history_the_start_is_unknown(
    busy: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    busy.record_jobs(created(TWO, "x", backend="tpp"))
    now = time.time()
    job = created(TWO, "x").created.jobs[0].id
    entry = QueueEntry(job_id=job, rap_id=TWO, workspace="w", requires_db=False, since=now)
    write(busy, backend_row("tpp", max_workers=0, last_seen=now, queue=(entry,)))
    assert "unknown" in shown(capsys, "queue", "tpp")


# --- rap watch ---


def test_watching_prints_a_line_for_every_change_until_ctrl_c(busy: Records) -> None:
    process = subprocess.Popen(
        [Path(sys.executable).parent / "rap", "watch", "test"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    first = process.stdout.readline()
    assert "test: open" in first
    write(busy, backend_row(version=2, paused=True, last_seen=1.0))
    second = process.stdout.readline()
    assert "test: paused, no agent" in second
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "")


# --- rap jobs ---


def listed(capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    return [job["action"] for job in document(capsys, "jobs", *options)["jobs"]]


@pytest.mark.parametrize(
    ("options", "actions"),
    [
        ((), ["other", "slow", "next", "last", "after", "slow"]),
        (("--backend", "TPP"), ["other"]),
        (("--workspace", "ws", "--action", "slow"), ["slow", "slow"]),
        (("--rap", ONE, "--limit", "2"), ["slow", "next"]),
        (("--status", "succeeded"), ["slow"]),
        (("--status", "running"), ["slow"]),
        (("--status", "waiting_on_workers"), ["next", "last"]),
        (("--status", "PENDING", "--limit", "3"), ["other", "next", "last"]),
        (("--status", "failed"), []),
        (("--since", "2023-11-14T22:13:30+00:00"), ["other"]),
        (("--since", "4h"), []),
    ],
)
def test_jobs_are_found_by_each_filter_the_newest_first(
    busy: Records, capsys: pytest.CaptureFixture[str], options: tuple[Any, ...], actions: list[Any]
) -> None:
    busy.record_jobs(created(TWO, "other", backend="tpp", created_at=1_700_000_011))
    assert listed(capsys, *options) == actions


def test_what_is_shown_of_a_waiting_job_is_what_is_looked_for(
    busy: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    write(busy, backend_row(version=2, paused=True, paused_since=1.0))
    assert listed(capsys, "--status", "paused") == ["next", "last", "after"]
    assert listed(capsys, "--status", "waiting_on_workers") == []


def test_jobs_are_a_table_for_people(busy: Records, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "jobs", "--status", "succeeded")
    assert text.splitlines()[1].split()[2:6] == ["test", "ws", "slow", rap_id(9)]
    assert "20 min" in text
    assert shown(capsys, "jobs", "--action", "nothing") == "No job fits.\n"


def test_a_status_that_is_none_is_refused_with_those_there_are(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["jobs", "--status", "lost"]) == 2
    assert "--status must be one of pending, running" in capsys.readouterr().err


@pytest.mark.spec("controller:150")
def test_a_job_that_waits_for_a_reboot_says_so_and_is_as_fresh_as_its_paused_backend(
    busy: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = changed(ONE, "slow", StatusCode.WAITING_ON_REBOOT, 1_700_000_100, attempt=2)
    busy.record_jobs(stopped)
    seen = []
    for version, moment in ((2, 1_900_000_000.0), (3, 1_900_000_070.0)):
        row = backend_row(version=version, paused=True, paused_since=1.0, updated_at=moment)
        write(busy, row)
        (job,) = document(capsys, "jobs", "--status", "waiting_on_reboot")["jobs"]
        assert job["action"] == "slow"
        seen.append(datetime.fromisoformat(job["updated_at"]))
    assert (seen[1] - seen[0]).total_seconds() == 70
