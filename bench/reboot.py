"""How long it takes to make a backend with five running jobs ready for a reboot, and what follows.

From the signal ``prepare_for_reboot``: until there is no container of the five, and until the
backend says that no slot is used, which is when it is safe to reboot. Then the backend goes on at
once: from the signal ``pause`` (off) until all five have succeeded. Five bare containers that are
killed and removed through Docker's API alone, in turns with the drill, tell what of it is Docker's.
"""

import asyncio
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, TypeVar
from uuid import uuid4

import docker
import httpx
import typer
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from bench.cancel import Ends, start_bare, summary, wait_for
from bench.latency import IMAGE
from bench.studies import create_body, repository
from infra.images.build import JobImages, connect
from infra.local_system import BACKEND, LocalSystem
from rap import ids
from rap.contracts.kinds import Signal
from rap.contracts.workflows import BACKEND_STATE, PAUSE, PREPARE_FOR_REBOOT
from rap.messages.orders import RebootOrder, Switch
from rap.rows import BackendRow
from rap.temporal.messages import query, send_signal

Message = TypeVar("Message")

JOBS = 5
TARGET_S = 60.0
ACTIONS = [f"a{number}" for number in range(JOBS)]


def project() -> str:
    """Five actions that run until there is a file ``gate``."""
    lines = ["version: '4.0'", "actions:"]
    for name in ACTIONS:
        lines += [
            f"  {name}:",
            f"    run: python:v2 sh -c 'until [ -e gate ]; do sleep 0.05; done; echo > {name}.txt'",
            f"    outputs: {{highly_sensitive: {{out: {name}.txt}}}}",
        ]
    return "\n".join(lines) + "\n"


class Backend:
    """Gives orders to the backend of a system, each on a connection of its own."""

    def __init__(self, address: str) -> None:
        self._address = address

    def order(self, signal: Signal[Message], message: Message) -> None:
        async def give() -> None:
            await send_signal(await self._connect(), signal, self._id, message)

        asyncio.run(give())

    def is_safe_to_reboot(self) -> bool:
        async def ask() -> BackendRow:
            return await query(await self._connect(), BACKEND_STATE, self._id)

        row = asyncio.run(ask())
        return row.paused and not row.slots

    @property
    def _id(self) -> str:
        return ids.backend_workflow_id(BACKEND)

    async def _connect(self) -> Client:
        return await Client.connect(self._address, data_converter=pydantic_data_converter)


class Drill:
    """One drill after another on one system."""

    def __init__(
        self, system: LocalSystem, http: httpx.Client, study: Path, engine: docker.DockerClient
    ) -> None:
        self._system, self._http, self._study, self._engine = system, http, study, engine
        self._commit = repository(study, project())
        self._backend = Backend(system.env["TEMPORAL_ADDRESS"])

    def run(self) -> dict[str, float]:
        """Interrupt five running jobs, go on, and see them succeed; seconds of each part."""
        rap_id = uuid4().hex[:16]
        body = create_body(rap_id, self._study, self._commit)
        answer = self._http.post("/controller/v1/rap/create/", json=body)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        jobs = [ids.job_id(rap_id, name) for name in ACTIONS]
        wait_for(lambda: self._codes(rap_id) == {"executing"}, "five jobs run")
        ends = [Ends(ids.container_name(job)) for job in jobs]
        start = time.perf_counter()
        self._backend.order(PREPARE_FOR_REBOOT, RebootOrder(by="bench"))
        gone = max(each.since(start)[1] for each in ends)
        wait_for(self._backend.is_safe_to_reboot, "it is safe to reboot")
        safe = time.perf_counter() - start
        volumes = [self._system.high_privacy / "volumes" / job for job in jobs]
        assert not any(volume.exists() for volume in volumes)
        self._backend.order(PAUSE, Switch(on=False, by="bench"))
        closed = set(volumes)

        def all_succeeded() -> bool:
            for volume in [each for each in closed if each.exists()]:
                (volume / "gate").touch()
                closed.discard(volume)
            return not closed and self._codes(rap_id) == {"succeeded"}

        again = time.perf_counter()
        wait_for(all_succeeded, "all succeed")
        end = time.perf_counter()
        return {"gone": gone, "safe": safe, "resumed": end - again, "all": end - start}

    def bare(self) -> float:
        """Five bare containers, killed and removed at once; seconds until all are gone."""
        names = [start_bare(self._engine, self._system.folder) for _ in range(JOBS)]
        ends = [Ends(name) for name in names]
        start = time.perf_counter()

        def kill(name: str) -> None:
            self._engine.api.kill(name)
            self._engine.api.remove_container(name, force=True)

        with ThreadPoolExecutor(JOBS) as threads:
            list(threads.map(kill, names))
        return max(each.since(start)[1] for each in ends)

    def _codes(self, rap_id: str) -> set[str]:
        answer = self._http.post("/controller/v1/rap/status/", json={"rap_ids": [rap_id]})
        return {job["status_code"] for job in answer.json()["jobs"]}


def main(rounds: Annotated[int, typer.Option(help="How many drills.")] = 5) -> None:
    """Measure and print JSON."""
    engine = connect()
    JobImages(engine).ensure(IMAGE)
    with tempfile.TemporaryDirectory(prefix="rap-bench-") as name:
        folder = Path(name)
        overrides = {"TEST_MAX_WORKERS": str(JOBS)}
        with LocalSystem(folder / "system", overrides=overrides) as system, system.client() as http:
            drill = Drill(system, http, folder / "study", engine)
            # The first is for warming up.
            drills, bare = [], []
            for _ in range(rounds + 1):
                drills.append(drill.run())
                bare.append(drill.bare())
    parts = {part: summary([times[part] for times in drills[1:]]) for part in drills[0]}
    bare_gone = summary(bare[1:])
    results = {
        "jobs": JOBS,
        "order_until_no_container_s": parts["gone"],
        "order_until_safe_to_reboot_s": parts["safe"],
        "unpause_until_all_succeeded_s": parts["resumed"],
        "order_until_all_succeeded_s": parts["all"],
        "bare_kill_and_remove_s": bare_gone,
        "ratio_no_container": round(parts["gone"]["median"] / bare_gone["median"], 2),
        "target_safe_to_reboot_s": TARGET_S,
        "reached": parts["safe"]["worst"] <= TARGET_S,
    }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    typer.run(main)
