"""How long a controller that was killed takes until every backend grants slots again.

Many backends with open RAPs, all made through the controller, and one backend with a very long
queue, whose RAPs are stand-ins that only listen. Then, while all cores are busy with other work,
the controller is killed and started again, and each backend gets what it needs to grant: a report
of an agent and, on the large one, whose slots are all taken, one that becomes free. The times count
from the kill until readers see the grant.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import RawValue
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.cpu import milliseconds
from bench.studies import create_body, repository
from infra.processes import Service
from infra.temporal.dev_server import DevServer, without_temporal_settings
from rap import ids
from rap.contracts.workflows import CREATE_RAP, REPORT, SLOTS, WORKSPACE
from rap.egress import AgentReport
from rap.messages.slots import SlotDelta, SlotRequest
from rap.messages.workspaces import CreateOutcome, WorkspaceStart
from rap.models import CreateRequest
from rap.records import Records, migrations
from rap.temporal.client import connect
from rap.temporal.messages import execute_update_with_start, send_signal
from workflows.workspace.start import workspace_options

LARGE = "large"
SLOTS_OF_LARGE = 10
JOBS_OF_A_STAND_IN = 500
LISTENERS = "bench-listeners"
AT_ONCE = 8
TARGET_S = 60.0
PATIENCE_S = 600.0


@workflow.defn
class Listener:
    """Takes the messages of a RAP and does nothing about them."""

    @workflow.run
    async def run(self) -> None:
        """Be there."""
        await workflow.wait_condition(lambda: False)

    @workflow.signal(dynamic=True)
    def take(self, name: str, arguments: Sequence[RawValue]) -> None:
        """Take any message."""


class System:
    """Temporal, the controller and the read model, in one folder."""

    def __init__(self, folder: Path, backends: Sequence[str]) -> None:
        self.backends = (*backends, LARGE)
        self.server = DevServer(db=folder / "temporal.sqlite")
        url = f"sqlite:///{folder / 'records.sqlite'}"
        migrations.upgrade(url)
        self.records = Records.connect(url)
        settings = {
            **without_temporal_settings(),
            "BACKENDS": ",".join(self.backends),
            "LARGE_MAX_WORKERS": str(SLOTS_OF_LARGE),
            "WORKDIR": str(folder),
            "RAP_DATABASE_URL": url,
            "ALLOW_LOCAL_GIT_REPOS": "true",
            "DOCKER_REGISTRY_API": "none",
            "TEMPORAL_ADDRESS": self.server.address,
        }
        argv = (sys.executable, "-m", "worker_controller")
        log = folder / "controller.log"
        self.controller = Service("controller", argv, settings, log_path=log)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with self.server.running():
            self.controller.start()
            try:
                yield
            finally:
                self.controller.stop()
                self.records.close()

    def holders(self, slug: str) -> set[str]:
        """The jobs that hold slots of a backend, for readers."""
        row = self.records.backend_flags([slug]).get(slug)
        return set() if row is None else {slot.job_id for slot in row.slots}

    def waiting(self, slug: str) -> int:
        row = self.records.backend_flags([slug]).get(slug)
        return 0 if row is None else row.waiting


async def report(client: Client, slug: str) -> None:
    """A host of the backend is there, with room for more than there are slots."""
    sign = AgentReport(backend=slug, host="bench", at=0.0, room=1000)
    await send_signal(client, REPORT, ids.backend_workflow_id(slug), sign)


async def until(condition: object, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            sys.exit(f"not after {PATIENCE_S:.0f} s: {what}")
        await asyncio.sleep(0.1)


async def open_raps(
    client: Client, backends: Sequence[str], study: Path, *, raps: int, jobs: int
) -> None:
    """RAPs whose jobs all wait for a slot, spread over the backends."""
    actions = [
        f"  a{number}:\n    run: python:v2 true {number}\n"
        f"    outputs: {{highly_sensitive: {{out: a{number}.txt}}}}"
        for number in range(jobs)
    ]
    commit = repository(study, "\n".join(["version: '4.0'", "actions:", *actions]) + "\n")
    gate = asyncio.Semaphore(AT_ONCE)

    async def create(backend: str) -> None:
        body = create_body(uuid4().hex[:16], study, commit, backend=backend)
        request = CreateRequest.model_validate(body)
        workspace = WorkspaceStart(backend=backend, workspace=request.workspace)
        options = workspace_options(backend, request.workspace)
        async with gate:
            answer = await execute_update_with_start(
                client, CREATE_RAP, request, (WORKSPACE, workspace), options
            )
        if answer.outcome is not CreateOutcome.CREATED:
            sys.exit(f"a create was answered {answer}")

    await asyncio.gather(*(create(backends[number % len(backends)]) for number in range(raps)))


async def fill(client: Client, waiting: int) -> None:
    """Have so many jobs of stand-ins wait on the large backend, once its slots are taken."""
    left = waiting + SLOTS_OF_LARGE
    backend = ids.backend_workflow_id(LARGE)
    await report(client, LARGE)
    while left > 0:
        rap_id, count = uuid4().hex[:16], min(left, JOBS_OF_A_STAND_IN)
        workspace = f"workspace{left % 100}"
        rap = ids.rap_workflow_id(workspace, rap_id)
        await client.start_workflow(Listener.run, id=rap, task_queue=LISTENERS)
        requests = tuple(
            SlotRequest(
                job_id=ids.job_id(rap_id, f"a{number}"),
                workspace=workspace,
                requires_db=False,
                created_at=1_700_000_000 + left,
                position=number,
                attempt=1,
                action=f"a{number}",
            )
            for number in range(count)
        )
        await send_signal(client, SLOTS, backend, SlotDelta(rap_id=rap_id, requests=requests))
        left -= count


async def age(client: Client, events: int) -> int:
    """Let the large backend live on until its history has so many events; returns how many."""
    handle = client.get_workflow_handle(ids.backend_workflow_id(LARGE))
    while True:
        length = (await handle.describe()).history_length
        if length >= events:
            return length
        await report(client, LARGE)
        await asyncio.sleep(0.1)


@contextlib.contextmanager
def all_cores_busy() -> Iterator[None]:
    others = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        yield
    finally:
        for each in others:
            each.kill()
            each.wait()


async def measure(system: System, client: Client) -> dict[str, float]:
    """Kill the controller, start it again; seconds from the kill."""
    before = {slug: system.holders(slug) for slug in system.backends}
    system.controller.kill()
    killed = time.monotonic()
    system.controller.start()
    freed = SlotDelta(rap_id="bench", releases=(min(before[LARGE]),))
    await send_signal(client, SLOTS, ids.backend_workflow_id(LARGE), freed)
    granted: dict[str, float] = {}
    reported = 0.0
    while len(granted) < len(system.backends):
        if time.monotonic() - killed > PATIENCE_S:
            break
        if time.monotonic() - reported > 30:
            reported = time.monotonic()
            await asyncio.gather(*(report(client, slug) for slug in system.backends))
        for slug in system.backends:
            if slug not in granted and system.holders(slug) - before[slug]:
                granted[slug] = time.monotonic() - killed
        await asyncio.sleep(0.1)
    return granted


async def run(
    folder: Path, *, backends: int, raps: int, jobs: int, waiting: int, events: int
) -> int:
    names = [f"b{number:02}" for number in range(backends)]
    system = System(folder, names)
    with system.running():
        os.environ["TEMPORAL_ADDRESS"] = system.server.address
        client = await connect(identity="bench")
        await until(lambda: system.records.backend_flags([LARGE]), "the controller works")
        listeners = Worker(
            client,
            task_queue=LISTENERS,
            workflows=[Listener],
            workflow_runner=UnsandboxedWorkflowRunner(),
        )
        async with listeners:
            await open_raps(client, names, folder / "study", raps=raps, jobs=jobs)
            await fill(client, waiting)
            await until(lambda: system.waiting(LARGE) == waiting, "the large backend is full")
            await until(lambda: sum(map(system.waiting, names)) == raps * jobs, "all jobs wait")
            length = await age(client, events)
            with all_cores_busy():
                granted = await measure(system, client)
                pid = system.controller.process.pid if system.controller.process else 0
                cpu = milliseconds(pid) / 1000
    times = sorted(granted.values())
    reached = len(times) == len(system.backends) and times[-1] <= TARGET_S
    result = {
        "backends": backends,
        "raps": raps,
        "jobs_of_a_rap": jobs,
        "waiting_on_the_large_one": waiting,
        "its_events": length,
        "first_grant_s": round(times[0], 1) if times else None,
        "large_grants_s": round(granted[LARGE], 1) if LARGE in granted else None,
        "all_grant_s": round(times[-1], 1) if len(times) == len(system.backends) else None,
        "controller_cpu_s": round(cpu, 1),
        "load": round(os.getloadavg()[0], 1),
        "target_s": TARGET_S,
        "reached": reached,
    }
    print(json.dumps(result, indent=2))
    return 0 if reached else 1


def main(
    backends: Annotated[int, typer.Option(help="Beside the large one.")] = 50,
    raps: Annotated[int, typer.Option(help="Open RAPs on them.")] = 500,
    jobs: Annotated[int, typer.Option(help="Jobs of each.")] = 10,
    waiting: Annotated[int, typer.Option(help="Jobs that wait on the large one.")] = 20_000,
    events: Annotated[int, typer.Option(help="Length of its history at the kill.")] = 500,
) -> None:
    """Measure and print JSON; exit status 1 if the target is missed."""
    with tempfile.TemporaryDirectory(prefix="rap-bench-") as name:
        figures = {"backends": backends, "raps": raps, "jobs": jobs, "waiting": waiting}
        sys.exit(asyncio.run(run(Path(name), **figures, events=events)))


if __name__ == "__main__":
    typer.run(main)
