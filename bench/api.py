"""Latency of the HTTP API in milliseconds, for one client and for many, the more jobs are known.

The processes are those of production, with a development server of Temporal; there is no agent, so
that nothing but the API's own work is measured. Answers without Temporal are compared with the same
bytes served from memory by the same server, creates with the start of one empty workflow on the
same Temporal, both measured beside them, so that a slow machine slows both. The processor time
that each process took for a call tells what limits it, on a busy machine too.
"""

import asyncio
import itertools
import json
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar
from uuid import uuid4

import httpx
import typer
from sqlalchemy import make_url
from temporalio.client import Client

from bench.clients import Endpoint, series
from bench.cpu import milliseconds
from bench.studies import create_body, repository
from infra.local_system import API, BACKEND, CONTROLLER, LocalSystem
from infra.processes import Service, Stack
from infra.temporal.dev_server import free_port
from rap import ids
from rap.addresses import HOST
from rap.egress import Metrics
from rap.records import Records, migrations
from rap.rows import JobChange, JobChanges, JobRow, RapRows
from rap.sentences import CODE_SENTENCES
from rap.status import StatusCode

JOBS_OF_A_RAP = 10
MANY = 16
WARM_UP = 5
CREATE = "create of 10 actions"
PATIENCE_S = 60.0
BASE = "/controller/v1"
T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """A goal, and what the system that this one replaces needed on such a machine."""

    p50: float
    p95: float
    target_p95: float | None = None


FIGURES = {
    # call, clients, jobs known
    ("status of 1000 jobs", 1, 1_000): Figure(78, 109, 25),
    ("status of 1000 jobs", MANY, 1_000): Figure(734, 1_065, 250),
    ("status of 10000 jobs", 1, 10_000): Figure(848, 1_010, 250),
    ("status of 10000 jobs", MANY, 10_000): Figure(7_913, 17_496),
    (CREATE, 1, 100): Figure(11, 13, 25),
    (CREATE, MANY, 100): Figure(95, 109, 150),
    (CREATE, 1, 1_000): Figure(11, 13, 25),
    (CREATE, MANY, 1_000): Figure(95, 109, 150),
    (CREATE, 1, 10_000): Figure(17, 22, 25),
    (CREATE, MANY, 10_000): Figure(261, 343, 150),
}


@dataclass
class Bench:
    """One system, and what was measured of it."""

    system: LocalSystem
    folder: Path
    scale: float
    results: list[dict[str, Any]] = field(default_factory=list)
    rap_ids: list[str] = field(default_factory=list)
    """Those in the read model that was filled."""

    def __post_init__(self) -> None:
        self.api = Endpoint(self.system.api_port, self.system.token)
        self.records = Records.connect(self.system.database_url)
        self.study = self.folder / "study"
        self.commit = repository(self.study, project())
        self._numbers = itertools.count()

    def fill(self, known: int) -> None:
        """Make the read model know that many jobs; half of each RAP has succeeded."""
        while len(self.rap_ids) * JOBS_OF_A_RAP < known:
            rap_id = ids.random_rap_id()
            self.rap_ids.append(rap_id)
            rows = tuple(row(rap_id, number, self.commit) for number in range(JOBS_OF_A_RAP))
            ended = tuple(one for job in rows[: JOBS_OF_A_RAP // 2] for one in life(job))
            self.records.record_jobs(
                JobChanges(created=RapRows(rap_id=rap_id, jobs=rows), changes=ended)
            )

    def read(self, name: str, method: str, path: str, body: object, calls: int) -> None:
        """Measure a call that Temporal has no part in."""
        sent = None if body is None else json.dumps(body).encode()
        content = self.api.call(method, path, sent, 200)
        with bare_server(self.folder, content) as bare:

            def ours(_number: int) -> object:
                return self.api.call(method, path, sent, 200)

            def theirs(_number: int) -> object:
                return bare.call(method, "/answer", sent, 200)

            for clients in (1, MANY):
                count = self._calls(calls, clients)
                self._measure(name, ours, theirs, count, clients, "the same bytes from memory")

    def create(self, calls: int) -> None:
        """Measure creates in workspaces that are known, and in new ones."""
        empty = EmptyWorkflows(self.system.server.address)
        compared = "the start of one empty workflow"
        for clients in (1, MANY):
            count = self._calls(calls, clients)
            known = self._known_workspaces(count + WARM_UP)
            new = (f"new{next(self._numbers)}" for _ in range(count + WARM_UP))
            for name, workspaces in ((CREATE, known), (f"{CREATE} in a new workspace", new)):

                def ours(_number: int, workspaces: Iterator[str] = workspaces) -> object:
                    return self._create(next(workspaces), "run_all")

                self._measure(name, ours, empty.start, count, clients, compared)
        empty.close()

    def _known_workspaces(self, count: int) -> Iterator[str]:
        names = [f"known{next(self._numbers)}" for _ in range(count)]
        for name in names:
            self._create(name, "warm_up")
        return iter(names)

    def _create(self, workspace: str, *actions: str) -> bytes:
        body = create_body(
            ids.random_rap_id(),
            self.study,
            self.commit,
            workspace=workspace,
            requested_actions=list(actions),
            backend=BACKEND,
        )
        return self.api.call("POST", f"{BASE}/rap/create/", json.dumps(body).encode(), 201)

    def _calls(self, calls: int, clients: int) -> int:
        return max(clients, round(calls * self.scale))

    def _measure(
        self,
        name: str,
        ours: Callable[[int], object],
        theirs: Callable[[int], object],
        count: int,
        clients: int,
        compared: str,
    ) -> None:
        for number in range(WARM_UP):
            ours(number)
            theirs(number)
        before = self._cpu()
        taken = series(ours, clients=clients, calls=count)
        between = self._cpu()
        compared_with = series(theirs, clients=clients, calls=count)
        cpu, least_cpu = (
            {process: round((ms - earlier[process]) / count, 1) for process, ms in later.items()}
            for earlier, later in ((before, between), (between, self._cpu()))
        )
        known = len(self.rap_ids) * JOBS_OF_A_RAP
        result: dict[str, Any] = {
            "call": name,
            "jobs_known": known,
            "clients": clients,
            "calls": count,
            **taken,
            "cpu_per_call": cpu,
            "compared_with": {"what": compared, **compared_with, "cpu_per_call": least_cpu},
            "ratio": round(taken["p50"] / compared_with["p50"], 1),
        }
        figure = FIGURES.get((name, clients, known))
        if figure:
            result["existing_system"] = {"p50": figure.p50, "p95": figure.p95}
            if figure.target_p95:
                result["target_p95"] = figure.target_p95
                result["reached"] = taken["p95"] <= figure.target_p95
        self.results.append(result)
        print(f"{name}, {known} known, {clients} clients: {taken}, cpu {cpu}", file=sys.stderr)

    def _cpu(self) -> dict[str, float]:
        return {
            member.name: milliseconds(member.process.pid)
            for member in self.system.stack
            if member.process
        }


class EmptyWorkflows:
    """Starts workflows that nobody works on."""

    def __init__(self, address: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._client = self._do(Client.connect(address))

    def start(self, _number: int) -> None:
        work = self._client.start_workflow(
            "Empty",
            id=f"empty/{uuid4()}",
            task_queue="empty",
            execution_timeout=timedelta(minutes=5),
        )
        self._do(work)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def project() -> str:
    """Eleven actions: one to warm up with, and ten of which nine wait for the first."""
    lines = ["version: '4.0'", "actions:"]
    for name in ("warm_up", *(f"a{number}" for number in range(JOBS_OF_A_RAP))):
        lines += [
            f"  {name}:",
            f"    run: python:v2 python analysis/{name}.py --input output/a0.csv",
            *(["    needs: [a0]"] if name not in {"warm_up", "a0"} else []),
            f"    outputs: {{highly_sensitive: {{out: output/{name}.csv}}}}",
        ]
    return "\n".join(lines) + "\n"


def row(rap_id: str, number: int, commit: str) -> JobRow:
    """A job as a create records it."""
    action = f"a{number}"
    return JobRow(
        id=ids.job_id(rap_id, action),
        rap_id=rap_id,
        position=number,
        backend=BACKEND,
        workspace="filled",
        repo_url="https://github.com/opensafely/study",
        commit=commit,
        action=action,
        run_command=f"python:v2 python analysis/{action}.py --input output/a0.csv",
        requires_db=number == 0,
        user="bench",
        project="bench",
        created_at=int(time.time()),
        trace_context={"traceparent": f"00-{uuid4().hex}-{uuid4().hex[:16]}-01"},
    )


def life(job: JobRow) -> Iterator[JobChange]:
    """What is recorded of a job that runs and succeeds."""
    codes = (StatusCode.INITIATED, StatusCode.EXECUTING, StatusCode.SUCCEEDED)
    for number, code in enumerate(codes):
        metrics = Metrics(cpu_mean=93.7, cpu_peak=188.2, mem_mb_mean=512.5, mem_mb_peak=1024.25)
        yield JobChange(
            job_id=job.id,
            attempt=1,
            code=code,
            message=CODE_SENTENCES[code],
            at=time.time() + number,
            metrics=metrics if code.is_final else None,
        )


@contextmanager
def bare_server(folder: Path, content: bytes) -> Iterator[Endpoint]:
    """The server of the API with nothing behind it but these bytes."""
    answers = folder / "answers"
    answers.mkdir(exist_ok=True)
    (answers / "answer").write_bytes(content)
    port = free_port()
    argv = (sys.executable, "-m", "bench.bare_server", str(port), str(answers))
    with Stack([Service("bare", argv)]):
        wait_for(f"http://{HOST}:{port}/answer")
        yield Endpoint(port)


def wait_for(url: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    sys.exit(f"{url} does not answer")


@contextmanager
def running(folder: Path, database: str | None) -> Iterator[LocalSystem]:
    """A system without an agent."""
    overrides = {"RAP_DATABASE_URL": database} if database else {}
    system = LocalSystem(folder, overrides=overrides)
    folder.mkdir()
    migrations.upgrade(system.database_url)
    try:
        for name in (system.server.name, CONTROLLER, API):
            system.stack.restart(name)
        wait_for(system.api_url)
        yield system
    finally:
        system.stack.stop()


def measure(bench: Bench, known: int) -> None:
    """Everything with that many jobs known."""
    bench.fill(known)
    status = f"{BASE}/rap/status/"
    bench.read("backend status", "GET", f"{BASE}/backend/status/", None, 200)
    one = {"rap_ids": [random.choice(bench.rap_ids)]}
    bench.read("status of 10 jobs", "POST", status, one, 200)
    for jobs, calls in ((1_000, 100), (10_000, 30)):
        if jobs <= known:
            asked = {"rap_ids": bench.rap_ids[: jobs // JOBS_OF_A_RAP]}
            bench.read(f"status of {jobs} jobs", "POST", status, asked, calls)
    bench.create(50)


def main(
    known: Annotated[list[int] | None, typer.Option(help="How many jobs are known.")] = None,
    database: Annotated[
        str | None, typer.Option(help="URL of an empty PostgreSQL database; by default SQLite.")
    ] = None,
    scale: Annotated[float, typer.Option(help="More or fewer calls of everything.")] = 1.0,
) -> None:
    """Measure and print JSON."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="rap-bench-") as name:
        folder = Path(name)
        with running(folder / "system", database) as system:
            bench = Bench(system, folder, scale)
            for count in sorted(known or [100, 1_000, 10_000]):
                measure(bench, count)
            bench.records.close()
    machine = {
        "cores": os.cpu_count(),
        "load_before": round(load, 2),
        "load_after": round(os.getloadavg()[0], 2),
        "database": make_url(system.database_url).get_backend_name(),
    }
    print(json.dumps({"machine": machine, "milliseconds": bench.results}, indent=2))


if __name__ == "__main__":
    typer.run(main)
