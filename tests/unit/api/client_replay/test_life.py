"""The life of requests when nothing goes wrong."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from rap.contracts.workflows import PAUSE
from rap.ids import job_id
from rap.messages.orders import Switch
from tests.support.live_system import Study, eventually, write
from tests.support.quick_system import QuickSystem
from tests.unit.api.client_replay.conftest import Ask, rounds_until
from tests.unit.api.client_replay.job_server import JobServer

pytestmark = pytest.mark.workflows


@pytest.mark.spec("rap-api:132", "rap-api:137", "rap-api:139", "rap-api:141")
def test_a_request_goes_from_pending_over_running_to_succeeded(
    system: QuickSystem, job_server: JobServer, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    job_server.round()  # idle: nothing is asked for
    held = f"held-{uuid4().hex}"
    system.host.held.add(held)
    study = make({held: write(held), "after": write("after", needs=[held])})
    request = ask(study, "after")
    assert (request.status, request.jobs) == ("pending", {})

    job_server.round()
    assert set(request.jobs) == {job_id(request.identifier, name) for name in (held, "after")}
    assert [row["action"] for row in request.jobs.values()] == [held, "after"]
    rounds_until(job_server, lambda: request.status == "running", "the request runs")
    system.release(held)
    rounds_until(job_server, lambda: request.status == "succeeded", "the request succeeds")

    assert request.seen in (
        ["pending", "running", "succeeded"],
        ["pending", "running", "succeeded", "succeeded"],
    )
    assert job_server.mails == [(request.identifier, held), (request.identifier, "after")]
    for row in request.jobs.values():
        assert row["status_message"] == "Completed successfully"
        assert row["completed_at"] is not None
    job_server.round()
    assert len(job_server.mails) == 2
    assert job_server.log == []


@pytest.mark.spec("rap-api:133", "rap-api:69")
def test_what_has_succeeded_already_leaves_nothing_to_do(
    system: QuickSystem, job_server: JobServer, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    study = make({"only": write("only")})
    first = ask(study, "run_all")
    rounds_until(job_server, lambda: first.status == "succeeded", "the first succeeds")

    again = ask(study, "run_all", workspace=first.workspace)
    assert (again.status, again.status_message) == (
        "nothing_to_do",
        "All actions have already completed successfully",
    )
    job_server.round()
    assert again.jobs == {}
    assert job_server.log == []


@pytest.mark.spec("rap-api:134")
def test_a_refused_request_shows_the_reason_and_is_never_asked_for_again(
    job_server: JobServer, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    request = ask(make({"only": write("only")}), "other")
    assert (request.status, request.status_message) == (
        "failed",
        "Action 'other' not found in project.yaml",
    )
    job_server.round()
    assert (request.status, job_server.log) == ("failed", [])


@pytest.mark.spec("rap-api:138")
def test_a_cancelled_request_ends_failed_with_its_jobs_cancelled(
    system: QuickSystem, job_server: JobServer, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    held = f"held-{uuid4().hex}"
    system.host.held.add(held)
    study = make({held: write(held), "after": write("after", needs=[held])})
    request = ask(study, "after")
    assert job_server.cancel(request) == "not started yet"
    job_server.round()
    system.has_started(held)
    assert job_server.cancel(request) == "cancelled"
    assert request.cancelled_actions == {held, "after"}
    rounds_until(job_server, lambda: request.status == "failed", "the request ends")

    assert {row["status_code"] for row in request.jobs.values()} == {"cancelled_by_user"}
    assert request.status_message == "Failed due to job failure"
    # Sent before its page was loaded again: the jobs have ended meanwhile.
    assert job_server.cancel(request, held) == "cancelled"
    assert job_server.cancel(request) == "nothing to cancel"
    assert len(job_server.mails) == 2


def test_one_job_cancelled_leaves_the_others(
    system: QuickSystem, job_server: JobServer, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    held, other = (f"held-{uuid4().hex}" for _ in range(2))
    system.host.held |= {held, other}
    request = ask(make({held: write(held), other: write(other)}), "run_all")
    rounds_until(job_server, lambda: request.status == "running", "both run")
    assert job_server.cancel(request, held) == "cancelled"
    rounds_until(job_server, lambda: request.job(held)["status"] == "failed", "one ends")
    system.has_started(other)
    assert request.status == "running"
    system.release(other)
    rounds_until(job_server, lambda: request.status == "failed", "all end")
    assert request.job(other)["status"] == "succeeded"


def test_a_cancel_that_names_an_action_too_many_cancels_nothing(
    job_server: JobServer, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    request = ask(make({"only": write("only")}), "only")
    assert job_server.cancel(request, "only", "other") == "could not be cancelled"
    assert request.cancelled_actions == set()


@pytest.mark.spec("rap-api:140")
def test_the_state_of_the_backend_is_stored_as_received(
    system: QuickSystem, job_server: JobServer
) -> None:
    job_server.update_backends()
    assert job_server.log == []
    (backend,) = job_server.backends.values()
    assert set(backend) == {"slug", "last_seen", "paused", "db_maintenance"}
    assert backend["last_seen"] is not None
    for on, shown in ((True, "on"), (False, "off")):
        system.tell_backend(PAUSE, Switch(on=on))

        def says(expected: Any = shown) -> Any:
            job_server.update_backends()
            return job_server.backends["test"]["paused"]["status"] == expected

        eventually(says, f"paused is {shown}")
    assert job_server.log == []


def test_with_a_wrong_token_nothing_is_done_and_nothing_breaks(
    job_server: JobServer, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    study = make({"only": write("only")})
    good = ask(study, "only")
    job_server.round()
    before = {**good.jobs}
    right, job_server.token = job_server.token, "wrong"
    refused = ask(study, "only")
    assert (refused.status, refused.status_message) == ("failed", "Invalid token")
    assert job_server.cancel(good, "only") == "could not be cancelled"
    job_server.update_backends()
    job_server.round()
    assert [entry.partition(":")[0] for entry in job_server.log] == ["backends", "round"]
    assert (good.jobs, job_server.backends) == (before, {})
    job_server.token = right
    job_server.log.clear()
    rounds_until(job_server, lambda: good.status == "succeeded", "it goes on")
