"""Many clients ask all the time while many jobs run: what none of their answers may say.

The processes are real, but for the agent: its jobs end at once, so that all states pass by.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from rap import ids
from tests.support.live_system import BASE, FINAL, Study, eventually, make_study, write
from tests.support.quick_system import QuickSystem, gather

pytestmark = pytest.mark.e2e

CLIENTS = 16
PAUSE_S = 0.02
FRESH_WITHIN = timedelta(minutes=3)
ORDER = {"pending": 0, "running": 1, "succeeded": 2, "failed": 2}
FIXED = ("identifier", "rap_id", "backend", "action", "created_at", "run_command", "requires_db")
SIZES = [2] * 30 + [20] * 4 + [60]  # jobs of each RAP: 200 in all


@dataclass
class Poller:
    """Asks again and again for all RAPs, and keeps what it saw that must not be."""

    system: QuickSystem
    sizes: dict[str, int]
    """Jobs by RAP, for as many RAPs as there will be."""
    created: set[str]
    """The RAPs whose create was answered."""
    answers: int = 0
    faults: list[str] = field(default_factory=list)
    last: dict[str, dict[str, Any]] = field(default_factory=dict)

    def ask(self, client: httpx.Client) -> None:
        before = set(self.created)
        answer = client.post(f"{BASE}/rap/status/", json={"rap_ids": list(self.sizes)})
        now = datetime.now(UTC)
        self.answers += 1
        if answer.status_code != httpx.codes.OK:
            self.faults.append(f"answered {answer.status_code}: {answer.text}")
            return
        body = answer.json()
        jobs = {job["identifier"]: job for job in body["jobs"]}
        self._count(body, before)
        self.faults += [f"{gone} is gone" for gone in self.last.keys() - jobs.keys()]
        for identifier, job in jobs.items():
            self._compare(self.last.get(identifier, job), job, now)
        self.last = jobs

    def _count(self, body: dict[str, Any], created: set[str]) -> None:
        counts = dict.fromkeys(self.sizes, 0)
        for job in body["jobs"]:
            counts[job["rap_id"]] += 1
        unrecognised = set(body["unrecognised_rap_ids"])
        for rap_id, count in counts.items():
            if count not in (0, self.sizes[rap_id]):
                self.faults.append(f"{rap_id} has {count} of {self.sizes[rap_id]} jobs")
            if count == 0 and rap_id in created:
                self.faults.append(f"{rap_id} was created and has no jobs")
            if count and rap_id in unrecognised:
                self.faults.append(f"{rap_id} has jobs and is unrecognised")

    def _compare(self, before: dict[str, Any], job: dict[str, Any], now: datetime) -> None:
        name = f"{job['rap_id']}/{job['action']}"
        if ORDER[job["status"]] < ORDER[before["status"]]:
            self.faults.append(f"{name} went from {before['status']} to {job['status']}")
        if any(job[member] != before[member] for member in FIXED):
            self.faults.append(f"{name} became another: {before} {job}")
        if before["status"] in FINAL and job != before:
            self.faults.append(f"{name} changed after its end: {before} {job}")
        if (job["status"] in FINAL) != (job["completed_at"] is not None):
            self.faults.append(f"{name} is {job['status']}, completed at {job['completed_at']}")
        updated = datetime.fromisoformat(job["updated_at"])
        if job["status"] not in FINAL and now - updated > FRESH_WITHIN:
            self.faults.append(f"{name} was updated at {updated}, and it is {now}")


@contextmanager
def polling(pollers: list[Poller]) -> Iterator[None]:
    """Let all of them ask, each in a thread of its own, until the block is over."""
    over = threading.Event()

    def poll(poller: Poller) -> None:
        with poller.system.client() as client:
            while not over.wait(PAUSE_S):
                try:
                    poller.ask(client)
                except httpx.HTTPError as error:
                    poller.faults.append(repr(error))

    threads = [threading.Thread(target=poll, args=(poller,)) for poller in pollers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def study_of(tmp_path: Path, size: int) -> Study:
    """Half of its actions wait for another."""
    actions = {
        f"a{number}": write(f"a{number}", needs=[f"a{number - 1}"] if number % 2 else [])
        for number in range(size)
    }
    return make_study(tmp_path / f"study-{size}", actions)


@pytest.mark.spec("rap-api:89", "rap-api:112", "rap-api:113", "rap-api:115", "rap-api:116")
def test_answers_are_whole_and_never_go_back_whoever_asks_and_however_often(
    quick_system: "QuickSystem", tmp_path: Path
) -> None:
    studies = {size: study_of(tmp_path, size) for size in set(SIZES)}
    raps = [(ids.random_rap_id(), size) for size in SIZES]
    created: set[str] = set()
    pollers = [Poller(quick_system, dict(raps), created) for _ in range(CLIENTS)]

    def create(number: int) -> None:
        rap_id, size = raps[number]
        answer = quick_system.create(
            studies[size],
            *(f"a{action}" for action in range(size)),
            rap_id=rap_id,
            workspace=f"polled-{rap_id}",
        )
        assert (answer.status_code, answer.json().get("count")) == (201, size), answer.text
        created.add(rap_id)

    def faults() -> list[str]:
        return [fault for poller in pollers for fault in poller.faults]

    def all_over() -> bool:
        return all(
            len(poller.last) == sum(SIZES)
            and all(job["status"] == "succeeded" for job in poller.last.values())
            for poller in pollers
        )

    with polling(pollers):
        gather(create, len(raps))
        eventually(lambda: faults() or all_over(), "all clients have seen all jobs succeed")

    assert faults() == []
    assert all(poller.answers > 1 for poller in pollers)
    assert len({repr(sorted(poller.last.items())) for poller in pollers}) == 1
