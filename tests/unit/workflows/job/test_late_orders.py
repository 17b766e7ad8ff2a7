"""Orders to an attempt at a job that come late, or together."""

import pytest
from temporalio import activity

from rap import ids
from rap.contracts import activities as contracts
from rap.contracts.workflows import CLEAN_UP, JOB, STOP
from rap.egress import Acknowledged, Ending, JobOutcome
from rap.messages.jobs import JobAttempt, StopOrder, StopReason, TerminateOrder
from rap.models import JobDefinition
from tests.support.factories import job_definition
from tests.support.world.activities import Lasting
from tests.support.world.server import Server
from worker_controller.worker import WORKFLOWS

pytestmark = pytest.mark.unit


@activity.defn(name=contracts.RUN_JOB.name)
async def run_job(definition: JobDefinition) -> Lasting:
    def end(is_cancelled: bool) -> JobOutcome:
        ending = Ending.CANCELLED if is_cancelled else Ending.COMPLETED
        return JobOutcome(task_id=definition.task_id, ending=ending, exit_code=0)

    return Lasting(end)


@activity.defn(name=contracts.TERMINATE_JOB.name)
async def terminate_job(order: TerminateOrder) -> Acknowledged:
    return Acknowledged()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("reason", [StopReason.REBOOT, StopReason.HOST_LOST])
@pytest.mark.parametrize(("meant", "stops"), [(1, False), (2, True), (None, True)])
async def test_only_the_attempt_that_is_meant_stops(
    seed: int, reason: StopReason, meant: int | None, stops: bool
) -> None:
    server = Server(seed, WORKFLOWS, [run_job, terminate_job])
    attempt = JobAttempt(definition=job_definition(), attempt=2, host="h1")
    server.start(JOB, "job", attempt)
    while not server.log or not server.log[-1].startswith("run_job"):
        await server.step()
    server.signal(STOP, "job", StopOrder(reason=reason, attempt=meant))
    while server.is_open("job") and "task of job: stop" not in server.log:
        await server.step()
    wants_end = any("starts clean-up" in one for one in _on_its_way(server))
    wants_end |= any("terminate_job" in one for one in _on_its_way(server))
    assert wants_end is (stops and server.is_open("job"))
    server.end()


@pytest.mark.parametrize("seed", range(10))
async def test_a_lost_host_clears_up_also_where_the_job_is_cancelled_meanwhile(seed: int) -> None:
    server = Server(seed, WORKFLOWS, [run_job, terminate_job])
    server.start(JOB, "job", JobAttempt(definition=job_definition(), attempt=1, host="h1"))
    while not server.log or not server.log[-1].startswith("run_job"):
        await server.step()
    definition = job_definition()
    server.activities.away |= {
        ids.host_queue(definition.backend, "h1"),
        ids.control_queue(definition.backend, "h1"),
    }
    server.signal(STOP, "job", StopOrder(reason=StopReason.HOST_LOST))
    server.cancel("job")
    while server.is_open("job") or not server.is_quiet:
        await server.step()
    assert len(server.open_ids(CLEAN_UP)) == 1
    server.end()


def _on_its_way(server: Server) -> list[str]:
    return [what for _, what, _ in server._ready]
