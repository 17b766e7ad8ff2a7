"""The agent is killed again and again, at moments spread over all that it does for a job.

Each point names what the agent has just begun and how long after that it dies; both come from the
seed. Several RAPs keep four jobs going all the time, so each kill meets jobs at several stages. In
the end the engine tells how often each container was started, and the folders tell the rest.

By default few points, for every run of the tests. ``just chaos`` runs 25 points for each of four
seeds; ``RAP_CHAOS_POINTS`` and ``RAP_CHAOS_SEEDS`` (with commas) choose others.
"""

import hashlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any
from uuid import uuid4

import pytest

from infra.local_system import AGENT
from tests.support.live_system import LiveSystem, eventually, shell, watching

pytestmark = [pytest.mark.e2e, pytest.mark.chaos, pytest.mark.timeout(1500)]

POINTS = int(os.environ.get("RAP_CHAOS_POINTS", "10"))
SEEDS = [int(seed) for seed in os.environ.get("RAP_CHAOS_SEEDS", "1").split(",")]
BUSY = 6
"""Another RAP is made when fewer jobs than this are to be done."""
WORKS = 9
"""Jobs of a RAP beside the one that all others need."""
MOMENTS = {
    # What the agent's log, or a folder, shows when the moment has come; seconds that it may last.
    "starting": ("agent of backend", 0.5),
    "settling": ("handed back what the agent was doing", 0.2),
    "preparing": ("-> PREPARING", 0.15),
    "copying": ("Copying input file", 0.05),
    "prepared": ("-> PREPARED", 0.3),
    "executing": ("-> EXECUTING", 0.8),
    "finalizing": ("-> FINALIZING", 0.1),
    "filing": ("Extracting output file", 0.05),
    "finalized": ("-> FINALIZED", 0.05),
    "cleaning up": ("Cleaning up container and volume", 0.1),
}


def source() -> Any:
    return shell(
        "mkdir output; for n in 1 2 3 4; do head -c 4000000 /dev/urandom > output/big$n.bin; done",
        big="output/big*.bin",
    )


def work(name: Any) -> Any:
    """Copies much, computes a little, and leaves what can be checked."""
    script = (
        f"mkdir -p made && cat output/big*.bin > made/{name}.bin && sleep 0.$(( $$ % 9 ))5"
        f" && echo x,{name} > made/{name}.csv"
    )
    action = shell(script, needs=["source"], all=f"made/{name}.bin")
    action["outputs"]["moderately_sensitive"] = {"table": f"made/{name}.csv"}
    return action


class Load:
    """RAPs that keep an agent busy, and what must be true of them in the end."""

    def __init__(self, system: Any, study: Any, watches: Any) -> None:
        self.system, self.study, self.watches = system, study, watches
        self.raps: list[Watched] = []

    def keep_up(self) -> None:
        if sum(rap.unfinished() for rap in self.raps) < BUSY:
            self.raps.append(Watched(self.system, self.study, self.watches))

    def assert_whole(self) -> None:
        for rap in self.raps:
            rap.assert_whole()
        eventually(lambda: list((self.system.high_privacy / "volumes").iterdir()) == [], "volumes")
        for area in (self.system.high_privacy, self.system.medium_privacy):
            staged = area / "workspaces/.incoming"
            assert not staged.exists() or list(staged.iterdir()) == []


class Watched:
    """A RAP whose containers are watched from its beginning."""

    def __init__(self, system: Any, study: Any, watches: Any) -> None:
        self.system = system
        workspace = f"ws-{uuid4().hex[:12]}"
        self.starts = watches.enter_context(watching(workspace))
        self.rap = system.run(study, workspace=workspace)
        self.job_ids = [self.rap.job_id(action) for action in self.rap.jobs()]

    def unfinished(self) -> Any:
        return sum(job["status"] not in ("succeeded", "failed") for job in self.rap.jobs().values())

    def assert_whole(self) -> None:
        jobs = self.rap.wait_until_over()
        states = {name: (job["status_code"], job["status_message"]) for name, job in jobs.items()}
        assert {code for code, _ in states.values()} == {"succeeded"}, states
        assert self.starts.once_removed(self.job_ids) == dict.fromkeys(self.job_ids, 1)
        assert self.system.left_over(self.job_ids) == []
        for job_id in self.job_ids:
            assert self.system.metadata(job_id)["task_id"] == f"{job_id}-001"
        self._assert_outputs(set(jobs) - {"source"})

    def _assert_outputs(self, names: Any) -> None:
        high, medium = (
            area / "workspaces" / self.rap.workspace
            for area in (self.system.high_privacy, self.system.medium_privacy)
        )
        everything = b"".join((high / f"output/big{n}.bin").read_bytes() for n in (1, 2, 3, 4))
        manifest = json.loads((medium / "metadata/manifest.json").read_text())["outputs"]
        for name in names:
            assert (high / f"made/{name}.bin").read_bytes() == everything
            for area in (high, medium):
                assert (area / f"made/{name}.csv").read_text() == f"x,{name}\n"
                assert "JOB SUMMARY" in (area / f"metadata/{name}.log").read_text()
        filed = {
            str(path.relative_to(high)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in high.rglob("*")
            if path.is_file() and path.parent.name != "metadata"
        }
        assert {path: entry["content_hash"] for path, entry in manifest.items()} == filed


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, images: Any) -> Iterator[Any]:
    system = LiveSystem(tmp_path_factory.mktemp("chaos"))
    try:
        system.start()
        yield system
    finally:
        system.end()


def points(seed: Any) -> Any:
    """Which moment, and how many seconds after it; every moment before any comes again."""
    dice = random.Random(seed)
    chosen: list[str] = []
    while len(chosen) < POINTS:
        chosen += dice.sample(list(MOMENTS), len(MOMENTS))
    return [(moment, dice.uniform(0, MOMENTS[moment][1])) for moment in chosen[:POINTS]]


def kill_at(system: Any, load: Any, moment: Any, delay: Any) -> None:
    """Kill the agent a while after a moment, and start the next one; what it was doing last."""
    path, sign = system.logs / f"{AGENT}.log", MOMENTS[moment][0].encode()
    with path.open("rb") as log:
        if moment in ("starting", "settling"):
            # Of the process that a first kill makes necessary.
            log.seek(0, os.SEEK_END)
            system.stack[AGENT].kill()
            system.stack.restart(AGENT)
        else:
            eventually(
                lambda: b"agent.main loop started" in tail(path, system.since),
                "the agent has started",
            )
            log.seek(0, os.SEEK_END)
        seen, looked = b"", time.monotonic()
        while sign not in seen:
            seen += log.read()
            if time.monotonic() - looked > 0.5:
                load.keep_up()
                looked = time.monotonic()
                if moment == "settling" and b"agent.main loop started" in seen:
                    break  # nothing was in hand when the one before died
            time.sleep(0.002)
    time.sleep(delay)
    system.since = path.stat().st_size
    system.stack[AGENT].kill()
    system.stack.restart(AGENT)


def tail(path: Any, since: Any) -> Any:
    with path.open("rb") as log:
        log.seek(since)
        return log.read()


@pytest.mark.spec("agent:35", "agent:36", "agent:37", "agent:80", "agent:105", "agent:138")
@pytest.mark.parametrize("seed", SEEDS)
def test_no_kill_of_the_agent_starts_a_container_twice_or_loses_anything(
    system: Any, study: Any, seed: Any
) -> None:
    actions = {"source": source()} | {f"work{n}": work(f"work{n}") for n in range(WORKS)}
    made = study(actions)
    system.since = 0
    began, kills = time.monotonic(), Counter[str]()
    with ExitStack() as watches:
        load = Load(system, made, watches)
        for moment, delay in points(seed):
            load.keep_up()
            print(f"seed {seed}: {1000 * delay:.0f} ms after {moment}")
            kill_at(system, load, moment, delay)
            kills[moment] += 1
        load.assert_whole()
        print(
            json.dumps(
                {
                    "seed": seed,
                    "kills": kills,
                    "raps": len(load.raps),
                    "jobs": sum(len(rap.job_ids) for rap in load.raps),
                    "seconds": round(time.monotonic() - began),
                }
            )
        )
