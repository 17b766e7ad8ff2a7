"""The life of requests when answers are lost on their way."""

from collections.abc import Callable
from typing import Any

import pytest

from rap.ids import job_id
from tests.support.live_system import Study, write
from tests.support.quick_system import QuickSystem, gather
from tests.unit.api.client_replay.conftest import Ask, rounds_until
from tests.unit.api.client_replay.job_server import UNKNOWN_ERROR, JobServer
from tests.unit.api.client_replay.line import Fault, Line

pytestmark = pytest.mark.workflows


@pytest.mark.spec("rap-api:136", "rap-api:88")
def test_when_the_answer_of_a_create_is_lost_the_next_round_shows_its_jobs(
    job_server: JobServer, line: Line, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    study = make({"only": write("only")})
    line.fault = Fault.ANSWER_LOST
    request = ask(study, "only")
    assert request.status == UNKNOWN_ERROR
    line.fault = Fault.NONE
    rounds_until(job_server, lambda: request.status == "succeeded", "it runs all the same")
    assert set(request.jobs) == {job_id(request.identifier, "only")}


@pytest.mark.spec("rap-api:135")
def test_a_create_that_never_arrived_fails_at_the_next_round(
    job_server: JobServer, line: Line, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    line.fault = Fault.REQUEST_LOST
    request = ask(make({"only": write("only")}), "only")
    assert request.status == UNKNOWN_ERROR
    line.fault = Fault.NONE
    job_server.round()
    assert (request.status, request.status_message) == ("failed", "Unknown error creating jobs")


@pytest.mark.spec("rap-api:61", "rap-api:62")
def test_the_same_request_sent_again_changes_nothing(
    job_server: JobServer, line: Line, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    line.fault = Fault.ANSWER_LOST
    request = ask(make({"only": write("only")}), "only")
    assert request.status == UNKNOWN_ERROR
    line.fault = Fault.NONE
    for _ in range(2):
        job_server.submit(request)
        assert request.status == "pending"
    rounds_until(job_server, lambda: request.status == "succeeded", "it succeeds")
    assert len(request.jobs) == len(job_server.mails) == 1


def test_a_lost_round_is_made_up_for_by_the_next(
    job_server: JobServer, line: Line, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    request = ask(make({"only": write("only")}), "only")
    line.fault = Fault.ANSWER_LOST
    job_server.round()
    assert request.jobs == {}
    assert len(job_server.log) == 1
    job_server.log.clear()
    line.fault = Fault.NONE
    rounds_until(job_server, lambda: request.status == "succeeded", "it succeeds")


def test_a_cancel_whose_answer_was_lost_can_be_sent_again(
    system: QuickSystem,
    job_server: JobServer,
    line: Line,
    make: Callable[[dict[str, Any]], Study],
    ask: Ask,
) -> None:
    held = "held-for-a-lost-cancel"
    system.host.held.add(held)
    request = ask(make({held: write(held)}), held)
    rounds_until(job_server, lambda: request.status == "running", "it runs")
    line.fault = Fault.ANSWER_LOST
    assert job_server.cancel(request, held) == "could not be cancelled"
    line.fault = Fault.NONE
    assert job_server.cancel(request, held) == "cancelled"
    rounds_until(job_server, lambda: request.status == "failed", "it ends")
    assert request.job(held)["status_code"] == "cancelled_by_user"


@pytest.mark.spec("rap-api:64")
def test_a_hundred_creates_of_one_request_and_of_many_at_once(
    system: QuickSystem, job_server: JobServer, make: Callable[[dict[str, Any]], Study]
) -> None:
    """Half are of one request, from many processes; the others of workspaces of their own."""
    study = make({"one": write("one"), "two": write("two", needs=["one"])})
    shared = {"rap_id": "sharedbyall00000", "workspace": "shared-by-all"}

    def create(number: Any) -> Any:
        own = {"rap_id": f"alone{number:011}", "workspace": f"alone-{number}"}
        return system.create(study, "two", **(own if number % 2 else shared))

    answers = [(each.status_code, each.json()) for each in gather(create, 100)]
    results = {
        kind: sorted((code, body["result"]) for code, body in answers[first::2])
        for kind, first in (("shared", 0), ("alone", 1))
    }
    assert results["shared"] == [*[(200, "No change")] * 49, (201, "Success")]
    assert results["alone"] == [(201, "Success")] * 50
    assert {body["count"] for _, body in answers} == {2}
    jobs = system.status(*{body["rap_id"] for _, body in answers})["jobs"]
    assert len(jobs) == len({job["identifier"] for job in jobs}) == 2 * 51
