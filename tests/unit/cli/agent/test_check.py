"""What ``rap agent check`` thinks of what it finds, and what it shows of it."""

import fcntl
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cli import console
from cli.agent import place as agent_place
from cli.main import run_app
from rap.egress import Fault
from rap.errors import JobFault
from rap.findings import Finding, Level
from rap.settings import AgentSettings
from worker_agent.engine.facts import EngineState, UsageReading
from worker_agent.operations import checklist_engine, checklist_services, checklist_storage
from worker_agent.operations.jobs import cpu_percent
from worker_agent.operations.logs import last_lines
from worker_agent.operations.place import Place, matching

pytestmark = pytest.mark.unit

GIB = 1024**3
NOBODY = "127.0.0.1:1"


def state(**changes: Any) -> EngineState:
    facts: dict[str, Any] = {
        "version": "28.2.2",
        "rootless": False,
        "root_dir": Path("/var/lib/docker"),
        "storage_driver": "overlay2",
        "cgroup_version": "2",
        "cgroup_driver": "systemd",
        "live_restore": True,
        "swap_limit": True,
        "memory_limit": True,
        "user_namespaces": False,
        "at": 100.0,
    }
    return EngineState(**(facts | changes))


def not_ok(found: list[Finding]) -> dict[str, Level]:
    assert all(finding.remedy for finding in found if finding.level is not Level.OK)
    assert not any(finding.remedy for finding in found if finding.level is Level.OK)
    return {finding.subject: finding.level for finding in found if finding.level is not Level.OK}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {}),
        ({"cgroup_version": "1", "cgroup_driver": "cgroupfs"}, {}),
        ({"version": "20.10.24+dfsg1"}, {}),
        ({"version": "19.03.1"}, {"docker": Level.WARNING}),
        ({"storage_driver": "vfs"}, {"storage driver": Level.WARNING}),
        ({"memory_limit": False}, {"cgroups": Level.PROBLEM}),
        ({"swap_limit": False}, {"cgroups": Level.WARNING}),
        ({"live_restore": False}, {"live restore": Level.WARNING}),
        ({"user_namespaces": True}, {"user namespaces": Level.PROBLEM}),
        ({"at": 94.0}, {"clock": Level.WARNING}),
        ({"at": 107.0}, {"clock": Level.WARNING}),
        ({"at": 105.5}, {}),
        ({"at": None}, {}),
    ],
)
def test_an_engine_is_judged_by_what_it_says(
    changes: dict[str, Any], expected: dict[str, Level]
) -> None:
    found = list(checklist_engine.judged_engine(state(**changes), between=(100.0, 101.0)))
    assert not_ok(found) == expected


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"Driver": "macvlan"}, "driver is macvlan"),
        ({"Options": {}}, "bridge is not called jobrunner-db"),
        ({"Options": None}, "bridge is not called jobrunner-db"),
        ({"Internal": True}, "internal"),
        ({"EnableIPv6": True}, "IPv6"),
    ],
)
def test_a_database_network_that_its_firewall_rules_would_miss_is_a_problem(
    changes: dict[str, Any], word: str
) -> None:
    options = {"com.docker.network.bridge.name": "jobrunner-db"}
    good: dict[str, Any] = {"Driver": "bridge", "Options": options, "Internal": False}
    assert not_ok([checklist_engine.judged_network("jobrunner-db", good)]) == {}
    found = checklist_engine.judged_network("jobrunner-db", good | changes)
    assert found.level is Level.PROBLEM
    assert word in found.text
    assert "docker network rm jobrunner-db" in found.remedy


def test_an_image_is_known_by_the_registry_and_by_the_proxy() -> None:
    settings = AgentSettings()
    held = checklist_engine.held_digests(
        [
            {"RepoTags": [f"{settings.docker_registry}/python:v2"], "RepoDigests": None},
            {
                "RepoTags": [f"{settings.docker_proxy}/python:v2"],
                "RepoDigests": [f"{settings.docker_proxy}/python@sha256:abc"],
            },
            {"RepoTags": ["other/python:v3"], "RepoDigests": []},
            {"RepoTags": None, "RepoDigests": None},
        ],
        settings,
    )
    assert held == {"python:v2": "sha256:abc"}


@pytest.mark.parametrize(
    ("free", "size", "files", "level"),
    [
        (500 * GIB, 1000 * GIB, (50, 100), Level.OK),
        (21 * GIB, 1000 * GIB, (50, 100), Level.OK),
        (19 * GIB, 1000 * GIB, (50, 100), Level.WARNING),
        (6 * GIB, 50 * GIB, (0, 0), Level.OK),
        (4 * GIB, 50 * GIB, (0, 0), Level.WARNING),
        (GIB - 1, 50 * GIB, (0, 0), Level.PROBLEM),
        (500 * GIB, 1000 * GIB, (4, 100), Level.WARNING),
    ],
)
def test_a_disk_is_judged_by_its_room(
    free: int, size: int, files: tuple[int, int], level: Level
) -> None:
    assert checklist_storage.judged_room("X", free=free, size=size, files=files).level is level


def test_programs_must_be_the_user_that_owns_their_volumes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = AgentSettings(docker_user_id=10000, docker_group_id=10000)
    for euid, level in ((10000, Level.OK), (0, Level.OK), (10001, Level.PROBLEM)):
        monkeypatch.setattr(os, "geteuid", lambda euid=euid: euid)
        found = checklist_storage.user_mapping(settings)
        assert found.level is level
    assert "DOCKER_USER_ID=10001" in found.remedy
    found = checklist_storage.user_mapping(AgentSettings(docker_user_id=0))
    assert found.level is Level.PROBLEM


def test_folders_that_cannot_be_used_are_told_with_the_command_that_mends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "medium").write_text("a file")
    (tmp_path / "high").mkdir()
    settings = AgentSettings(
        workdir=tmp_path / "not" / "there",
        high_privacy_storage_base=tmp_path / "high",
        medium_privacy_storage_base=tmp_path / "medium" / "privacy",
    )
    found = {each.subject: each for each in checklist_storage.storage(settings)}
    assert found["WORKDIR"].level is Level.OK
    assert found["MEDIUM_PRIVACY_STORAGE_BASE"].level is Level.PROBLEM
    assert found["MEDIUM_PRIVACY_STORAGE_BASE"].remedy.startswith("install -d -o ")
    assert found["HIGH_PRIVACY_STORAGE_BASE"].level is Level.OK
    assert "disk of HIGH_PRIVACY_STORAGE_BASE" in found
    assert list((tmp_path / "high").iterdir()) == []
    assert not (tmp_path / "not").exists()
    owner = (tmp_path / "high").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    found = {each.subject: each for each in checklist_storage.storage(settings)}
    assert found["HIGH_PRIVACY_STORAGE_BASE"].level is Level.WARNING
    assert f"({owner})" in found["HIGH_PRIVACY_STORAGE_BASE"].remedy


def test_secrets_are_told_by_name_and_never_by_value() -> None:
    secret = {"DEFAULT_DATABASE_URL": "mssql://u:canary@h/db", "STATA_LICENSE": "canary"}
    found = checklist_services.present_secrets(AgentSettings(), secret)
    assert found.level is Level.OK
    assert found.text.startswith("set: DEFAULT_DATABASE_URL, STATA_LICENSE; not set: ")
    assert "canary" not in found.model_dump_json()
    found = checklist_services.present_secrets(AgentSettings(), {})
    assert found.level is Level.PROBLEM
    found = checklist_services.present_secrets(AgentSettings(using_dummy_data_backend=True), {})
    assert found.level is Level.OK
    half = secret | {"PRESTO_TLS_KEY_PATH": "/canary"}
    found = checklist_services.present_secrets(AgentSettings(), half)
    assert found.level is Level.PROBLEM
    assert "canary" not in found.model_dump_json()


def test_a_clock_that_nobody_sets_is_a_warning() -> None:
    assert not_ok(checklist_services.judged_clock(5)) == {"clock": Level.WARNING}
    assert not_ok(checklist_services.judged_clock(0)) == {}
    assert checklist_services.judged_clock(-1) == []
    assert len(checklist_services.clock()) <= 1


def test_without_docker_and_temporal_the_check_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rap.telemetry.logs.configure", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKEND", "test")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")
    monkeypatch.setenv("TEMPORAL_ADDRESS", NOBODY)
    assert run_app(["agent", "check", "--json"]) == 1
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"] is False
    levels = {each["subject"]: each["level"] for each in shown["checks"]}
    assert levels["docker"] == levels["temporal"] == levels["images"] == "problem"
    assert levels["database network"] == "problem"
    assert levels["settings"] == "ok"
    assert list(tmp_path.iterdir()) == []
    assert run_app(["agent", "check"]) == 1
    text = capsys.readouterr().out
    assert "\nproblem  docker: Docker does not answer" in text
    assert "\n         -> systemctl start docker" in text
    assert "\x1b" not in text


@pytest.mark.parametrize("command", [["jobs"], ["logs", "x"], ["kill", "x"]], ids=" ".join)
def test_without_docker_a_sentence_says_what_to_do(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("rap.telemetry.logs.configure", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKDIR", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")
    assert run_app(["agent", *command]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("Docker does not answer")
    assert "systemctl start docker" in shown.err


def test_whoever_may_not_use_docker_is_told_who_may(tmp_path: Path) -> None:
    error = Exception("Connection aborted.", PermissionError(13, "Permission denied"))
    fault = JobFault(Fault.ENGINE_UNAVAILABLE, "x")
    fault.__cause__ = error
    assert agent_place.engine_sentence(fault).startswith("Docker refuses this user.")


def test_an_agent_is_known_by_its_lock_and_others_by_their_waiting(tmp_path: Path) -> None:

    place = Place.of(AgentSettings(workdir=tmp_path))
    assert not place.agent_runs()
    finding = checklist_services.agents(place)
    assert finding.level is Level.WARNING
    place.lock_file.parent.mkdir()
    with place.lock_file.open("wb") as first, place.lock_file.open("wb") as second:
        fcntl.flock(first, fcntl.LOCK_EX)
        assert place.agent_runs()
        finding = checklist_services.agents(place)
        assert finding.level is Level.OK
        waiting = threading.Thread(target=fcntl.flock, args=(second, fcntl.LOCK_EX))
        waiting.start()
        deadline = time.monotonic() + 30
        while not place.waiting_agents():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        finding = checklist_services.agents(place)
        assert finding.level is Level.WARNING
        assert "1 more wait" in finding.text
        fcntl.flock(first, fcntl.LOCK_UN)
        waiting.join()


# --- choosing, measuring, showing ---


def test_a_job_is_meant_by_a_part_of_its_containers_name() -> None:
    jobs = ["abc", "abcd", "sabc", "xyz"]
    assert matching("abc", jobs) == ["abc"]
    assert matching("os-job-abc", jobs) == ["abc"]
    assert matching("ab", jobs) == ["abc", "abcd", "sabc"]
    assert matching("job-ab", jobs) == ["abc", "abcd"]
    assert matching("nothing", jobs) == []


def test_the_use_of_the_processor_is_what_was_used_between_two_readings() -> None:
    def reading(at: float, used: float) -> UsageReading:
        return UsageReading(at=at, cpu_total_ns=int(used * 1e9), memory_bytes=0)

    assert cpu_percent(reading(10, 1), reading(12, 4)) == 150
    assert cpu_percent(reading(10, 4), reading(12, 1)) == 0
    assert cpu_percent(None, reading(12, 1)) is None
    assert cpu_percent(reading(12, 1), reading(12, 1)) is None


@pytest.mark.parametrize("end", ["\n", ""])
def test_the_last_lines_of_a_long_file_are_found_from_its_end(tmp_path: Path, end: str) -> None:
    lines = [f"{number} {'x' * (number % 97)}" for number in range(60_000)]
    path = tmp_path / "logs.txt"
    path.write_text("\n".join(lines) + end)
    for count in (1, 2, 40_000, 60_000, 70_000):
        with path.open("rb") as file:
            shown = b"".join(last_lines(file, count)).decode()
        assert shown == "\n".join(lines[-count:]) + end
    with path.open("rb") as file:
        assert b"".join(last_lines(file, None)) == path.read_bytes()


def test_a_programs_words_cannot_control_the_terminal() -> None:
    assert console.printable("a\tb\r\nc") == "a\tb\nc"
    assert console.printable("\x1b[2Jx\x07\u202ey") == "\ufffd[2Jx\ufffd\ufffdy"
