"""How long a job's container lives on after ``rap/cancel/`` was called.

Ten other jobs prepare all the while: they pull images from a registry that answers nothing. The
same container, killed and removed through Docker's API alone in turns with the cancelled one, tells
what of the time is Docker's.
"""

import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import docker
import httpx
import typer

from bench.latency import IMAGE, PATIENCE_S
from bench.studies import create_body, repository
from infra.images.build import JobImages, connect
from infra.local_system import LocalSystem
from rap import ids
from rap.models import JobDefinition, Study
from rap.settings import AgentSettings
from worker_agent.engine.container import container_config

PREPARING = 10
TARGET_S = 2.0
Times = tuple[float, float]
"""Seconds until a container ended, and until it was gone."""
COMMAND = ["sh", "-c", "while :; do sleep 1; done"]


def project(images: list[str]) -> str:
    """A project with one endless action for each image."""
    lines = ["version: '4.0'", "actions:"]
    for number, image in enumerate(images):
        lines += [
            f"  a{number}:",
            f"    run: {image} sh -c 'while :; do sleep 1; done'",
            f"    outputs: {{highly_sensitive: {{out: output{number}.txt}}}}",
        ]
    return "\n".join(lines) + "\n"


@contextmanager
def silent_registry() -> Iterator[str]:
    """A registry that takes questions about images and never answers them; its address."""
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path != "/v2/":
                over.wait()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        over.set()
        server.shutdown()


@dataclass
class Client:
    """Asks for work as job-server does."""

    http: httpx.Client

    def create(self, study: Path, commit: str) -> str:
        rap_id = uuid4().hex[:16]
        body = create_body(rap_id, study, commit)
        answer = self.http.post("/controller/v1/rap/create/", json=body)
        assert answer.status_code == httpx.codes.CREATED, answer.text
        return rap_id

    def cancel(self, rap_id: str, actions: list[str]) -> None:
        body = {"rap_id": rap_id, "actions": actions}
        answer = self.http.post("/controller/v1/rap/cancel/", json=body)
        assert answer.is_success, answer.text

    def codes(self, rap_id: str) -> list[str]:
        answer = self.http.post("/controller/v1/rap/status/", json={"rap_ids": [rap_id]})
        return [job["status_code"] for job in answer.json()["jobs"]]


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:.0f} s"
        time.sleep(0.05)


class Ends:
    """When a container ended and when it was gone, told by the engine."""

    def __init__(self, container: str) -> None:
        self._threads = []
        self._at: dict[str, float] = {}
        for condition in ("not-running", "removed"):
            thread = threading.Thread(target=self._wait, args=(container, condition))
            thread.start()
            self._threads.append(thread)
        time.sleep(0.2)  # until both have asked

    def _wait(self, container: str, condition: str) -> None:
        client = docker.from_env()
        with suppress(docker.errors.NotFound):
            client.api.wait(container, timeout=PATIENCE_S, condition=condition)
        self._at[condition] = time.perf_counter()

    def since(self, start: float) -> tuple[float, float]:
        for thread in self._threads:
            thread.join()
        return self._at["not-running"] - start, self._at["removed"] - start


def cancelled(client: Client, engine: docker.DockerClient, study: Path, commit: str) -> Times:
    rap_id = client.create(study, commit)
    name = ids.container_name(ids.job_id(rap_id, "a0"))

    def runs() -> bool:
        return bool(engine.containers.list(filters={"name": f"^/{name}$", "status": "running"}))

    wait_for(runs, "the container runs")
    ends = Ends(name)
    start = time.perf_counter()
    client.cancel(rap_id, ["a0"])
    times = ends.since(start)
    wait_for(lambda: client.codes(rap_id) == ["cancelled_by_user"], "the job is over")
    return times


def start_bare(engine: docker.DockerClient, folder: Path) -> str:
    """Start the same container by Docker's API alone; its name."""
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
        args=tuple(COMMAND),
        cpu_count=2.0,
        memory_limit="4G",
    )
    settings = AgentSettings(backend="test", using_dummy_data_backend=True)
    volume = Path(tempfile.mkdtemp(dir=folder))
    config = container_config(definition, settings, image=IMAGE, mount_source=volume, secrets={})
    name = ids.container_name(definition.id)
    engine.api.create_container_from_config(config, name)
    engine.api.start(name)
    return name


def killed(engine: docker.DockerClient, folder: Path) -> Times:
    """The same container, ended by Docker's API alone."""
    name = start_bare(engine, folder)
    ends = Ends(name)
    start = time.perf_counter()
    engine.api.kill(name)
    engine.api.remove_container(name, force=True)
    return ends.since(start)


def summary(times: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(times), 3),
        "p95": round(statistics.quantiles(times, n=20, method="inclusive")[-1], 3),
        "worst": round(max(times), 3),
    }


def main(
    rounds: Annotated[int, typer.Option(help="How many jobs are cancelled.")] = 20,
) -> None:
    """Measure and print JSON."""
    engine = connect()
    JobImages(engine).ensure(IMAGE)
    slots = {"TEST_MAX_WORKERS": str(PREPARING + 2)}
    with tempfile.TemporaryDirectory(prefix="rap-bench-") as name, silent_registry() as registry:
        folder = Path(name)
        overrides = slots | {"DOCKER_PROXY": f"{registry}/opensafely-core"}
        with LocalSystem(folder / "system", overrides=overrides) as system, system.client() as http:
            client = Client(http)
            # Images that nobody has.
            absent = [f"python:v{int(time.time())}{n}" for n in range(PREPARING)]
            busy = folder / "busy"
            others = client.create(busy, repository(busy, project(absent)))
            wait_for(lambda: client.codes(others) == ["preparing"] * PREPARING, "ten prepare")
            study = folder / "study"
            commit = repository(study, project(["python:v2"]))
            pairs = []
            for _ in range(rounds + 1):
                ours = cancelled(client, engine, study, commit)
                pairs.append((*ours, *killed(engine, folder)))
            still_preparing = client.codes(others).count("preparing")
            client.cancel(others, [f"a{n}" for n in range(PREPARING)])
            wait_for(lambda: set(client.codes(others)) == {"cancelled_by_user"}, "all is over")
    # The first is for warming up.
    ended, gone, bare_ended, bare_gone = map(list, zip(*pairs[1:], strict=True))
    results = {
        "preparing_beside": still_preparing,
        "cancel_until_ended_s": summary(ended),
        "cancel_until_gone_s": summary(gone),
        "bare_kill_until_ended_s": summary(bare_ended),
        "bare_kill_and_remove_until_gone_s": summary(bare_gone),
        "ratio_ended": round(statistics.median(ended) / statistics.median(bare_ended), 2),
        "ratio_gone": round(statistics.median(gone) / statistics.median(bare_gone), 2),
        "target_worst_gone_s": TARGET_S,
    }
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    typer.run(main)
