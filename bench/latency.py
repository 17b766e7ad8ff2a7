"""How long a request takes from ``rap/create/`` until ``rap/status/`` says that all succeeded.

Three shapes of no-op jobs: one, a chain of five, a fan of twenty over ten slots. Each is divided by
the time that the same containers (image, command, user, limits, mount) take through Docker's API
alone, with nothing around them, in the same run. Shapes and bare containers take turns, so that a
noisy machine treats both alike; medians are compared.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import docker
import httpx
import typer

from bench.studies import create_body, repository
from infra.images.build import JobImages, connect
from infra.local_system import LocalSystem
from rap import ids
from rap.models import JobDefinition, Study
from rap.settings import AgentSettings
from worker_agent.engine.container import container_config

SLOTS = 10
IMAGE = "ghcr.io/opensafely-core/python:v2"
SHAPES = {"one": (1, False), "chain": (5, True), "fan": (20, False)}
TARGETS = {"one": 2.0, "chain": 1.6, "fan": 1.6}
PATIENCE_S = 120.0


def command(number: int) -> list[str]:
    """A program that does next to nothing, and leaves the output that its action promises."""
    return ["sh", "-c", f"echo {number} > output{number}.txt"]


def project(count: int, *, chained: bool) -> str:
    lines = ["version: '4.0'", "actions:"]
    for number in range(count):
        lines += [
            f"  a{number}:",
            f"    run: python:v2 sh -c 'echo {number} > output{number}.txt'",
            *([f"    needs: [a{number - 1}]"] if chained and number else []),
            f"    outputs: {{highly_sensitive: {{out: output{number}.txt}}}}",
        ]
    return "\n".join(lines) + "\n"


def run_rap(client: httpx.Client, study: Path, commit: str) -> float:
    """One request from create to success, in seconds."""
    rap_id = uuid4().hex[:16]
    body = create_body(rap_id, study, commit)
    start = time.perf_counter()
    answer = client.post("/controller/v1/rap/create/", json=body)
    if answer.status_code != httpx.codes.CREATED:
        sys.exit(f"create was answered {answer.status_code}: {answer.text}")
    while time.perf_counter() - start < PATIENCE_S:
        answer = client.post("/controller/v1/rap/status/", json={"rap_ids": [rap_id]})
        states = {job["status"] for job in answer.json()["jobs"]}
        if states == {"succeeded"}:
            return time.perf_counter() - start
        if "failed" in states:
            sys.exit(f"a job failed: {answer.text}")
        # Asking takes a core of its own from the containers; so as rarely as a few percent allow.
        time.sleep(max(0.005, (time.perf_counter() - start) * 0.03))
    sys.exit(f"not finished after {PATIENCE_S} s")


class Bare:
    """The same containers, run through the API of Docker alone."""

    def __init__(self, engine: docker.DockerClient, folder: Path) -> None:
        self._api, self._folder = engine.api, folder
        self._settings = AgentSettings(backend="test", using_dummy_data_backend=True)

    def run_one(self, number: int) -> None:
        volume = Path(tempfile.mkdtemp(dir=self._folder))
        definition = JobDefinition(
            id=f"bare{uuid4().hex[:12]}",
            rap_id="bare",
            repo_url="",
            commit="",
            study=Study(git_repo_url="", commit="", branch=""),
            workspace="bench",
            action="bare",
            created_at=0,
            image=IMAGE,
            args=tuple(command(number)),
            cpu_count=2.0,
            memory_limit="4G",
        )
        config = container_config(
            definition, self._settings, image=IMAGE, mount_source=volume, secrets={}
        )
        created = self._api.create_container_from_config(config, ids.container_name(definition.id))
        self._api.start(created["Id"])
        self._api.wait(created["Id"])
        self._api.remove_container(created["Id"])

    def run(self, count: int, *, chained: bool) -> float:
        """All containers of a shape, with as many at once as the backend has slots; seconds."""
        start = time.perf_counter()
        with ThreadPoolExecutor(1 if chained else SLOTS) as pool:
            list(pool.map(self.run_one, range(count)))
        return time.perf_counter() - start


def measure(rounds: int, run: Callable[[], float], bare: Callable[[], float]) -> dict[str, float]:
    """Take turns; medians in seconds and their ratio."""
    run()
    pairs = [(run(), bare()) for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "seconds": round(ours, 3),
        "bare_seconds": round(theirs, 3),
        "ratio": round(ours / theirs, 2),
    }


def main(
    rounds: Annotated[int, typer.Option(help="How often each shape is measured.")] = 5,
    shape: Annotated[list[str] | None, typer.Option(help="Only these shapes.")] = None,
) -> None:
    """Measure all shapes and print JSON."""
    engine = connect()
    JobImages(engine).ensure(IMAGE)
    results = {}
    with tempfile.TemporaryDirectory(prefix="rap-bench-") as name:
        folder = Path(name)
        slots = {"TEST_MAX_WORKERS": str(SLOTS)}
        with LocalSystem(folder / "system", overrides=slots) as system, system.client() as http:
            bare = Bare(engine, folder)
            for kind in shape or SHAPES:
                count, chained = SHAPES[kind]
                study = folder / kind
                commit = repository(study, project(count, chained=chained))
                results[kind] = {
                    "jobs": count,
                    **measure(
                        rounds,
                        lambda study=study, commit=commit: run_rap(http, study, commit),
                        lambda count=count, chained=chained: bare.run(count, chained=chained),
                    ),
                    "target": TARGETS[kind],
                }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    typer.run(main)
