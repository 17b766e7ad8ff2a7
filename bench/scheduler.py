"""How long a backend thinks about who goes next, and how that grows with its queue.

A decision happens whenever something changes; writing the row for readers happens once a second.
Each is given in milliseconds, and as a multiple of sorting as many numbered names in the same run.
"""

import json
import math
import random
import sys
import time
from collections.abc import Callable

from rap.egress import AgentReport
from rap.messages import BackendLimits, BackendStart, SlotRequest
from workflows.backend_state import BackendState

SIZES = (500, 1_000, 5_000, 10_000)
ROUNDS = 15
SLOTS = 50
WORKSPACES = 100
TARGET_MS = 20.0
AT = 5_000


def main() -> int:
    """Print the figures; exit status 1 if the target is missed."""
    figures = {waiting: _measure(waiting) for waiting in SIZES}
    first, last = figures[SIZES[0]], figures[SIZES[-1]]
    growth = math.log(last["decision_ms"] / first["decision_ms"]) / math.log(SIZES[-1] / SIZES[0])
    reached = figures[AT]["decision_ms"] <= TARGET_MS
    report = {
        "slots": SLOTS,
        "workspaces": WORKSPACES,
        "waiting": figures,
        "growth_exponent": round(growth, 2),
        "target": {"waiting": AT, "decision_ms": TARGET_MS, "reached": reached},
    }
    print(json.dumps(report, indent=2))
    return 0 if reached else 1


def _measure(waiting: int) -> dict[str, float]:
    state = _busy_backend(waiting)
    freed = [job.request.job_id for job in state.running()]

    def decide() -> None:
        state.release(freed.pop())
        grants = list(state.grant(0.0))
        if len(grants) != 1:
            raise RuntimeError("one freed slot must give one grant")

    decision = _milliseconds(decide)
    row = _milliseconds(lambda: state.row(0.0).model_dump_json())
    names = [f"job-{number:06}" for number in range(waiting)]
    random.Random(1).shuffle(names)
    sorting = _milliseconds(lambda: sorted(names))
    return {
        "decision_ms": round(decision, 2),
        "row_ms": round(row, 2),
        "sorting_ms": round(sorting, 2),
        "ratio": round(decision / sorting, 1),
    }


def _busy_backend(waiting: int) -> BackendState:
    """All slots taken, and a queue of many workspaces."""
    limits = BackendLimits(max_workers=SLOTS - 10, max_db_workers=10)
    state = BackendState(BackendStart(slug="bench", limits=limits))
    state.take_report(AgentReport(backend="bench", host="h", at=0.0, room=10**6), 0.0)
    shuffled = random.Random(0)
    for number in range(waiting + 1_000):
        state.request(
            f"rap{number // 10:06}",
            SlotRequest(
                job_id=f"job{number:06}",
                workspace=f"workspace{shuffled.randrange(WORKSPACES)}",
                requires_db=number % 5 == 0,
                created_at=number,
                attempt=1,
            ),
            float(number),
        )
        if len(state.running()) < SLOTS:
            list(state.grant(0.0))
    for job in state.waiting()[waiting:]:
        state.release(job.request.job_id)
    return state


def _milliseconds(step: Callable[[], object]) -> float:
    """The median of some rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return sorted(times)[ROUNDS // 2] * 1000


if __name__ == "__main__":
    sys.exit(main())
