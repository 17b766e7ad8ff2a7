"""A job that is cancelled while the registry is asked for its image, which then does not answer."""

from typing import Any

import pytest
from temporalio import activity

from rap import ids
from rap.contracts import activities as contracts
from rap.contracts.workflows import CANCEL, RAP, RAP_STATUS
from rap.egress import Acknowledged
from rap.messages.workspaces import CancelOrder, RapStart, WorkspaceStart
from rap.models import ImageRequest
from rap.rows import JobChanges
from rap.status import StatusCode
from tests.support.factories import REGISTRY, job_spec
from tests.support.world.activities import Lasting, PassingFault
from tests.support.world.server import Server
from worker_controller.worker import WORKFLOWS

pytestmark = pytest.mark.unit


@activity.defn(name=contracts.RESOLVE_IMAGE.name)
async def resolve_image(request: ImageRequest) -> Lasting:
    def end(is_cancelled: bool) -> Any:
        raise PassingFault

    return Lasting(end)


@activity.defn(name=contracts.RECORD_JOBS.name)
async def record_jobs(changes: JobChanges) -> Acknowledged:
    return Acknowledged()


@activity.defn(name=contracts.LOAD_WORKSPACE.name)
async def load_workspace(start: WorkspaceStart) -> WorkspaceStart:
    return start


@pytest.mark.parametrize("seed", range(5))
async def test_it_stays_cancelled(seed: int) -> None:
    spec = job_spec()
    rap = ids.rap_workflow_id(spec.workspace, spec.rap_id)
    start = RapStart(
        rap_id=spec.rap_id,
        backend=spec.backend,
        workspace=spec.workspace,
        jobs=(spec,),
        image_registry=REGISTRY,
        pins_images=True,
    )
    server = Server(seed, WORKFLOWS, [resolve_image, record_jobs, load_workspace])
    server.start(RAP, rap, start)
    while not server.log or "resolve_image" not in server.log[-1]:
        await server.step()
    server.signal(CANCEL, rap, CancelOrder(job_ids=(spec.id,), at=1.0))
    while server.is_open(rap):
        await server.step()
        cancelled = f"task of {rap}: cancel" in server.log
        if cancelled and server.is_open(rap):
            assert set(server.query(RAP_STATUS, rap).values()) == {StatusCode.CANCELLED_BY_USER}
    server.end()
