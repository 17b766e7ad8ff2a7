"""What a backend's decisions, writes and continuations cost, and how that grows with its queue.

A decision happens whenever something changes, a write once a second; to be carried over and taken
over happens every thousand events, the latter also after a restart of the controller. Times are
processor time in milliseconds; sorting as many numbered names is given for comparison.
"""

import json
import math
import random
import sys
import time
from collections.abc import Callable

from rap.egress import AgentReport
from rap.messages.backends import BackendLimits, BackendStart
from rap.messages.slots import SlotRequest
from rap.temporal.codec import MOST_STORED, size_as_sent
from workflows.backend.state import BackendState

SIZES = (1_000, 5_000, 20_000, 100_000)
ROUNDS = 5
SLOTS = 50
WORKSPACES = 100
TARGET_MS = 20.0
AT = 5_000


def main() -> int:
    """Print the figures; exit status 1 if a target is missed."""
    figures = {waiting: _measure(waiting) for waiting in SIZES}
    first, last = figures[SIZES[0]], figures[SIZES[-1]]
    growth = math.log(last["decision_ms"] / first["decision_ms"]) / math.log(SIZES[-1] / SIZES[0])
    reached = figures[AT]["decision_ms"] <= TARGET_MS and last["carried_bytes"] < MOST_STORED
    report = {
        "slots": SLOTS,
        "workspaces": WORKSPACES,
        "waiting": figures,
        "decision_growth_exponent": round(growth, 2),
        "target": {
            "waiting": AT,
            "decision_ms": TARGET_MS,
            "carried_bytes": MOST_STORED,
            "reached": reached,
        },
    }
    print(json.dumps(report, indent=2))
    return 0 if reached else 1


def _measure(waiting: int) -> dict[str, float]:
    state = _busy_backend(waiting)
    freed = list(state.running)
    state.update(0.0, ())

    def decide() -> None:
        state.release(freed.pop())
        grants = list(state.grant(0.0))
        if len(grants) != 1:
            raise RuntimeError("one freed slot must give one grant")

    def write() -> str:
        decide()
        return state.update(0.0, ()).model_dump_json()

    def carry_over() -> str:
        return state.carried_over().model_dump_json()

    decision, written = _milliseconds(decide), _milliseconds(write)
    carried = _milliseconds(carry_over)
    document = carry_over()
    taken = _milliseconds(lambda: BackendState(BackendStart.model_validate_json(document)))
    names = [f"job-{number:06}" for number in range(waiting)]
    random.Random(1).shuffle(names)
    return {
        "decision_ms": round(decision, 2),
        "decision_and_write_ms": round(written, 2),
        "carried_over_ms": round(carried, 1),
        "taken_over_ms": round(taken, 1),
        "carried_bytes": size_as_sent(state.carried_over()),
        "sorting_ms": round(_milliseconds(lambda: sorted(names)), 2),
    }


def _busy_backend(waiting: int) -> BackendState:
    """All slots taken, and a queue of many workspaces; RAPs have ten jobs."""
    limits = BackendLimits(max_workers=SLOTS - 10, max_db_workers=10)
    state = BackendState(BackendStart(slug="bench", limits=limits))
    state.agents.take(AgentReport(backend="bench", host="h", at=0.0, room=10**6), 0.0)
    shuffled = random.Random(0)
    workspaces = [f"workspace{shuffled.randrange(WORKSPACES)}" for _ in range(waiting // 10 + 101)]
    for number in range(waiting + 1_000):
        state.request(
            f"rap{number // 10:06}",
            SlotRequest(
                job_id=f"job{number:06}",
                workspace=workspaces[number // 10],
                requires_db=number % 5 == 0,
                created_at=number // 10,
                position=number % 10,
                attempt=1,
            ),
            float(number // 10),
        )
        if len(state.running) < SLOTS:
            list(state.grant(0.0))
    for job in list(state.waiting)[waiting:]:
        state.release(job.request.job_id)
    return state


def _milliseconds(step: Callable[[], object]) -> float:
    """The median of some rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return sorted(times)[ROUNDS // 2] * 1000


if __name__ == "__main__":
    sys.exit(main())
