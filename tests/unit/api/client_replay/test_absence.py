"""The life of requests while a part of the service is away."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.local_system import API
from tests.support.live_system import Study, eventually, write
from tests.support.quick_system import QuickSystem
from tests.unit.api.client_replay.conftest import Ask, rounds_until
from tests.unit.api.client_replay.job_server import UNKNOWN_ERROR, JobServer

pytestmark = pytest.mark.workflows


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    # As short as the order of the deadlines allows.
    settings = {"RAP_API_TIMEOUT": "22.1"}
    with QuickSystem(tmp_path_factory.mktemp("absence"), overrides=settings) as system:
        yield system


@pytest.mark.spec("rap-api:88", "rap-api:135")
def test_without_temporal_nothing_is_decided_and_afterwards_all_goes_on(
    system: QuickSystem, job_server: JobServer, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    study = make({"only": write("only")})
    held = {"held": write("held")}
    system.host.held.add("held")
    running = ask(make(held), "held")
    rounds_until(job_server, lambda: running.status == "running", "it runs")

    system.stack[system.server.name].kill()
    lost = ask(study, "only")
    assert lost.status == UNKNOWN_ERROR
    assert job_server.cancel(running) == "could not be cancelled"
    job_server.round()
    job_server.update_backends()
    assert job_server.log == []
    # Neither its jobs nor that there are none: nobody knows yet.
    assert (lost.status, lost.jobs) == (UNKNOWN_ERROR, {})
    assert running.status == "running"
    assert job_server.backends["test"]["last_seen"] is not None

    system.stack.restart(system.server.name)

    def sent_again() -> Any:
        job_server.submit(lost)
        return lost.status == "pending"

    eventually(sent_again, "the create is taken")
    rounds_until(job_server, lambda: lost.status == "succeeded", "it succeeds")
    eventually(lambda: job_server.cancel(running) == "cancelled", "the cancel is taken")
    rounds_until(job_server, lambda: running.status == "failed", "it ends")
    assert running.job("held")["status_code"] == "cancelled_by_user"


@pytest.mark.spec("rap-api:135", "rap-api:119")
def test_without_the_api_requests_fail_and_after_its_restart_what_had_ended_is_unchanged(
    system: QuickSystem, job_server: JobServer, make: Callable[[dict[str, Any]], Study], ask: Ask
) -> None:
    study = make({"only": write("only")})
    known = ask(study, "only")
    rounds_until(job_server, lambda: known.status == "succeeded", "it succeeds")
    shown = system.status(known.identifier)

    system.stack[API].kill()
    lost = ask(study, "only")
    assert lost.status == UNKNOWN_ERROR
    job_server.round()
    assert (lost.status, len(job_server.log)) == (UNKNOWN_ERROR, 1)
    job_server.log.clear()

    system.stack.restart(API)
    system.api_answers()
    job_server.round()
    assert (lost.status, lost.status_message) == ("failed", "Unknown error creating jobs")
    assert job_server.log == []
    assert system.status(known.identifier) == shown
