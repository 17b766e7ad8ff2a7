"""One RAP of thousands of jobs, from its create to its end: time, processor time, memory.

Temporal, the controller and the API are processes as in production; a stub takes the place of the
agent and ends each job at once. So what is measured is the orchestration alone. Each size runs in a
system of its own; what a job costs is compared with a job of the smallest size.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from temporalio.client import Client

from bench.cpu import milliseconds
from bench.studies import create_body, repository
from infra.local_system import API, CONTROLLER
from rap import ids
from rap.temporal.codec import DATA_CONVERTER
from tests.support.quick_system import QuickSystem

SIZES = (300, 2_191, 5_000)
SLOTS = 50
COMMAND = 400
"""Characters."""
WIDTH = 49
"""So many jobs of a RAP need nothing but the first; each other one needs the one so far before."""
TARGET_CREATE_S = 22.0
LONGEST_S = 3_600.0
POLL_EVERY_S = 1.0


def project_file(actions: int) -> str:
    """A study of so many actions, with commands as long as those of large studies."""
    lines = [
        'version: "4.0"',
        "actions:",
        "  generate_dataset:",
        "    run: ehrql:v1 generate-dataset analysis/dataset.py --output output/dataset.csv.gz",
        "    outputs: {highly_sensitive: {cohort: output/dataset.csv.gz}}",
    ]
    for number in range(1, actions):
        name = f"model_{number:04d}-cohort_prevax"
        start = f"python:v2 python analysis/model.py --name {name} --covariates "
        covariates = ";".join(f"cov_{number % 89}_{place}" for place in range(60))
        need = f"model_{number - WIDTH:04d}-cohort_prevax" if number > WIDTH else "generate_dataset"
        lines += (
            f"  {name}:",
            f"    run: {(start + covariates)[:COMMAND]}",
            f"    needs: [{need}]",
            f"    outputs: {{moderately_sensitive: {{model: output/model/{name}.csv}}}}",
        )
    return "\n".join(lines) + "\n"


class Measured:
    """One RAP in a system of its own."""

    def __init__(self, system: QuickSystem, folder: Path, actions: int) -> None:
        self._system, self._actions = system, actions
        self._study = folder / "study"
        self._commit = repository(self._study, project_file(actions))
        self._rap_id = ids.random_rap_id()
        self._body = create_body(self._rap_id, self._study, self._commit)

    def run(self) -> dict[str, object]:
        """Create it and wait for its end."""
        before = self._processor_ms()
        with self._system.client() as http:
            start = time.perf_counter()
            answer = http.post("/controller/v1/rap/create/", json=self._body, timeout=60)
            created = time.perf_counter() - start
            if answer.status_code != 201:
                raise RuntimeError(f"{answer.status_code}: {answer.text[:500]}")
            asked: list[float] = []
            while True:
                at = time.perf_counter()
                status = http.post(
                    "/controller/v1/rap/status/", json={"rap_ids": [self._rap_id]}, timeout=60
                )
                asked.append(time.perf_counter() - at)
                codes = [job["status_code"] for job in status.json()["jobs"]]
                if len(codes) == self._actions and set(codes) == {"succeeded"}:
                    break
                if "failed" in {job["status"] for job in status.json()["jobs"]}:
                    raise RuntimeError("a job failed")
                if at - start > LONGEST_S:
                    raise RuntimeError("it takes too long")
                time.sleep(POLL_EVERY_S)
            took = time.perf_counter() - start
        used = {
            name: round((after - before[name]) / self._actions, 1)
            for name, after in self._processor_ms().items()
        }
        if len(self._system.host.started) != self._actions:
            raise RuntimeError(f"{len(self._system.host.started)} jobs were started")
        runs, events = asyncio.run(self._runs())
        asked.sort()
        return {
            "create_s": round(created, 2),
            "all_succeeded_s": round(took, 1),
            "jobs_per_s": round(self._actions / took, 1),
            "processor_ms_per_job": used,
            "controller_peak_mib": round(_peak_mib(self._pid(CONTROLLER))),
            "status_p50_ms": round(asked[len(asked) // 2] * 1000, 1),
            "status_worst_ms": round(asked[-1] * 1000, 1),
            "runs": runs,
            "events_per_job": round(events / self._actions, 1),
        }

    async def _runs(self) -> tuple[int, int]:
        """How many runs the RAP's workflow had, and their events together."""
        client = await Client.connect(self._system.server.address, data_converter=DATA_CONVERTER)
        workflow_id = ids.rap_workflow_id(str(self._body["workspace"]), self._rap_id)
        runs = [run async for run in client.list_workflows(f"WorkflowId = '{workflow_id}'")]
        lengths = []
        for run in runs:
            handle = client.get_workflow_handle(run.id, run_id=run.run_id)
            lengths.append((await handle.describe()).history_length)
        return len(runs), sum(lengths)

    def _processor_ms(self) -> dict[str, float]:
        names = (self._system.server.name, CONTROLLER, API)
        return {name: milliseconds(self._pid(name)) for name in names}

    def _pid(self, name: str) -> int:
        (member,) = (one for one in self._system.stack if one.name == name)
        if member.process is None:
            raise RuntimeError(f"{name} does not run")
        return member.process.pid


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main(
    jobs: Annotated[list[int] | None, typer.Option(help="How many jobs; may be repeated.")] = None,
    slots: Annotated[int, typer.Option(help="Of the backend.")] = SLOTS,
) -> None:
    """Measure and print JSON; exit status 1 if the target is missed."""
    figures: dict[int, dict[str, object]] = {}
    for size in jobs or SIZES:
        with tempfile.TemporaryDirectory(prefix="rap-bench-") as name:
            folder = Path(name)
            overrides = {"TEST_MAX_WORKERS": str(slots), "TEST_MAX_DB_WORKERS": str(slots)}
            with QuickSystem(folder / "system", overrides=overrides) as system:
                figures[size] = Measured(system, folder, size).run()
    first, last = (sum(figures[size]["processor_ms_per_job"].values()) for size in _ends(figures))  # type: ignore[attr-defined]
    reached = all(float(str(one["create_s"])) <= TARGET_CREATE_S for one in figures.values())
    report = {
        "slots": slots,
        "jobs": figures,
        "ratio_of_a_job": round(last / first, 2),
        "target": {"create_s": TARGET_CREATE_S, "reached": reached},
    }
    print(json.dumps(report, indent=2))
    sys.exit(0 if reached else 1)


def _ends(figures: dict[int, dict[str, object]]) -> tuple[int, int]:
    return min(figures), max(figures)


if __name__ == "__main__":
    typer.run(main)
