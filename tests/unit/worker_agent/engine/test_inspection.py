from typing import Any

import pytest

from worker_agent.engine.facts import EndEvents
from worker_agent.engine.images import split_tag
from worker_agent.engine.inspection import (
    container_facts,
    end_events,
    moment,
    nanoseconds,
    usage_reading,
)

pytestmark = pytest.mark.unit


def document(**state: Any) -> dict[str, Any]:
    return {
        "Id": "abc",
        "Name": "/os-job-j",
        "Image": "sha256:" + "0" * 64,
        "State": {
            "Running": False,
            "ExitCode": 0,
            "OOMKilled": False,
            "StartedAt": "2026-01-02T03:04:05.123456789Z",
            "FinishedAt": "2026-01-02T03:04:06Z",
            **state,
        },
        "Config": {"Labels": {"task": "j-001", "org.opencontainers.image.version": "v1"}},
        "HostConfig": {"Memory": 0},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05.123456789Z", 1767323045_123456789),
        ("2026-01-02T03:04:05.1Z", 1767323045_100000000),
        ("2026-01-02T04:04:05+01:00", 1767323045_000000000),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_moments_keep_their_nanoseconds(text: str, expected: int | None) -> None:
    assert nanoseconds(text) == expected


@pytest.mark.spec("agent:20")
def test_an_exited_container_tells_when_it_finished() -> None:
    facts = container_facts(document(ExitCode=3))
    assert (facts.running, facts.started, facts.exit_code) == (False, True, 3)
    assert facts.finished_at_ns == 1767323046_000000000
    assert facts.memory_limit_bytes is None
    assert facts.task_id == "j-001"


@pytest.mark.spec("agent:19")
def test_a_running_container_tells_since_when() -> None:
    facts = container_facts(document(Running=True, FinishedAt="0001-01-01T00:00:00Z"))
    assert facts.running
    assert facts.started_at_ns == 1767323045_123456789
    assert facts.exit_code is None
    assert facts.finished_at_ns is None


def test_a_container_that_was_created_but_not_started_has_no_exit_code() -> None:
    never = "0001-01-01T00:00:00Z"
    facts = container_facts(document(ExitCode=128, StartedAt=never, FinishedAt=never))
    assert not facts.started
    assert facts.exit_code is None


def event(action: str, **attributes: Any) -> dict[str, Any]:
    return {"Type": "container", "Action": action, "Actor": {"Attributes": attributes}}


@pytest.mark.parametrize(
    ("events", "known"),
    [
        ([], set()),
        ([event("oom")], {"out_of_memory"}),
        ([event("kill", signal="9")], {"killed"}),
        ([event("kill", signal="15")], set()),
        (
            [event("oom"), event("kill", signal="15"), event("kill", signal="9")],
            {"out_of_memory", "killed"},
        ),
        ([event("die", exitCode="137"), {"Action": "kill"}], {"ended"}),
    ],
)
def test_what_the_engine_remembers_about_an_end(events: list[Any], known: set[str]) -> None:
    assert end_events(events) == EndEvents(**dict.fromkeys(known, True))


def test_a_moment_is_given_to_the_engine_with_its_nanoseconds() -> None:
    assert moment(1767323045_000000009) == "1767323045.000000009"


@pytest.mark.parametrize("cache", ["total_inactive_file", "inactive_file"])
def test_memory_in_use_leaves_out_the_page_cache_in_both_versions_of_cgroups(cache: str) -> None:
    reading = usage_reading(
        {
            "read": "2026-01-02T03:04:05Z",
            "cpu_stats": {"cpu_usage": {"total_usage": 7}},
            "memory_stats": {"usage": 100, "stats": {cache: 30}},
        }
    )
    assert reading is not None
    assert (reading.cpu_total_ns, reading.memory_bytes, reading.at) == (7, 70, 1767323045.0)


def test_a_container_that_runs_no_more_has_no_reading() -> None:
    empty = {"read": "0001-01-01T00:00:00Z", "cpu_stats": {}, "memory_stats": {}}
    assert usage_reading(empty) is None


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("ghcr.io/opensafely-core/python:v2", ("ghcr.io/opensafely-core/python", "v2")),
        ("127.0.0.1:5000/core/python", ("127.0.0.1:5000/core/python", "latest")),
        ("127.0.0.1:5000/core/python:v2", ("127.0.0.1:5000/core/python", "v2")),
    ],
)
def test_a_port_is_not_taken_for_a_tag(reference: str, parts: tuple[str, str]) -> None:
    assert split_tag(reference) == parts
