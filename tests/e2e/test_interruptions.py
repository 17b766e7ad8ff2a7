"""The engine is killed, the host loses its power, Docker is away: no job fails for it."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from infra.local_system import AGENT
from tests.docker.private_engine import PrivateEngine
from tests.support.live_system import LiveSystem, Rap, Study, eventually, shell

pytestmark = [pytest.mark.e2e, pytest.mark.chaos, pytest.mark.timeout(900)]

NAMES = tuple(f"job{number}" for number in range(5))
IMAGE = "ghcr.io/opensafely-core/python:v2"


def appends(name: str) -> dict[str, Any]:
    """What runs twice in one volume leaves a second line."""
    script = f"mkdir -p output && echo {name} >> output/{name}.txt; "
    return shell(f"{script} until [ -e gate ]; do sleep 0.05; done", out=f"output/{name}.txt")


@pytest.fixture
def engine(tmp_path_factory: pytest.TempPathFactory, images: None) -> Iterator[PrivateEngine]:
    own = PrivateEngine(tmp_path_factory.mktemp("engine"))
    try:
        own.start()
        common, client = docker.from_env(), own.client()
        client.images.load(b"".join(common.images.get(IMAGE).save(named=True)))
        common.close()
        client.close()
        yield own
    finally:
        own.remove()


class Starts:
    """How often containers were started, by attempt; asked before the engine forgets it."""

    def __init__(self, engine: PrivateEngine) -> None:
        self.engine, self.counts = engine, Counter[str]()

    def note(self) -> None:
        client = self.engine.client()
        filters = {"event": ["start"], "label": ["jobrunner-local"]}
        until = int(time.time()) + 1
        for event in client.events(since=0, until=until, decode=True, filters=filters):
            self.counts[event["Actor"]["Attributes"]["task"]] += 1
        client.close()


def outputs(system: LiveSystem, rap: Rap) -> dict[str, str]:
    folder = system.high_privacy / "workspaces" / rap.workspace / "output"
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize("away_s", [3, pytest.param(120, marks=pytest.mark.nightly)])
def test_five_jobs_succeed_though_engine_and_host_go_down_beneath_them(
    new_system: Callable[..., LiveSystem],
    study: Callable[..., Study],
    engine: PrivateEngine,
    tmp_path: Path,
    away_s: float,
) -> None:
    boot_id = tmp_path / "boot_id"
    boot_id.write_text("first")
    system = new_system(
        DOCKER_HOST=engine.url, BOOT_ID_FILE=str(boot_id), TEST_MAX_WORKERS=str(len(NAMES))
    )
    system.start()
    made, starts = study({name: appends(name) for name in NAMES}), Starts(engine)
    rap = system.run(made)
    volumes = system.high_privacy / "volumes"

    def all_run(attempt: int) -> bool:
        suffix = "" if attempt == 1 else f"-{attempt:03d}"
        return all(
            (volumes / f"{rap.job_id(name)}{suffix}/output/{name}.txt").exists()
            and rap.jobs()[name]["status_code"] == "executing"
            for name in NAMES
        )

    eventually(lambda: all_run(1), "all jobs run")
    starts.note()
    engine.restart(signal.SIGKILL)
    eventually(lambda: all_run(2), "all jobs run again after the engine was killed")
    starts.note()
    system.stack[AGENT].kill()
    engine.lose_power()
    boot_id.write_text("second")
    system.stack.restart(AGENT)
    time.sleep(away_s)
    engine.start()
    eventually(lambda: all_run(3), "all jobs run again after the host lost its power")
    for name in NAMES:
        rap.open_gate(name)
    jobs = rap.wait_until_over()
    starts.note()
    assert {job["status_code"] for job in jobs.values()} == {"succeeded"}
    tasks = [system.metadata(rap.job_id(name))["task_id"] for name in NAMES]
    assert tasks == [f"{rap.job_id(name)}-003" for name in NAMES]
    assert set(starts.counts.values()) == {1}
    assert len(starts.counts) == 3 * len(NAMES)
    assert system.left_over([rap.job_id(name) for name in NAMES]) == []
    kept = system.job_folder(rap.job_id(NAMES[0]))
    assert {"metadata.001.json", "metadata.002.json"} <= {path.name for path in kept.iterdir()}
    undisturbed = system.run(made)

    def succeeds() -> bool:
        for name in NAMES:
            undisturbed.open_gate(name)
        return all(job["status"] == "succeeded" for job in undisturbed.jobs().values())

    eventually(succeeds, "a run without faults")
    assert outputs(system, rap) == outputs(system, undisturbed)
