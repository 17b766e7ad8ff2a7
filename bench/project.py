"""What reading a project file costs, by its number of actions.

Processor time in seconds, which a busy machine does not change much: of the whole, of the YAML
parser alone, and of the same text read as JSON; beside them the time on the clock until a worker
process gave its answer, the second time with one that was there already if the file is small.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable

from rap.project import parse_project, parse_yaml
from rap.project_reader import end_idle_workers, read_project
from tests.cases.projects import printed

SIZES = (300, 1_051, 1_211, 2_191)
ROUNDS = 3
TARGET_S = 1.0


def main() -> int:
    """Print the figures; exit status 1 if the target is missed."""
    figures = {actions: _measure(actions) for actions in SIZES}
    reached = figures[SIZES[-1]]["read_s"] <= TARGET_S
    report = {
        "actions": figures,
        "target": {"actions": SIZES[-1], "read_s": TARGET_S, "reached": reached},
    }
    print(json.dumps(report, indent=2))
    return 0 if reached else 1


def _measure(actions: int) -> dict[str, float]:
    text = printed("many_actions", actions)
    read = _processor_seconds(lambda: parse_project(text))
    parsing = _processor_seconds(lambda: parse_yaml(text, "project.yaml"))
    document = json.dumps(parse_yaml(text, "project.yaml"))
    as_json = _processor_seconds(lambda: json.loads(document))
    end_idle_workers()
    # Another text each time, since what was read is remembered.
    first, second = (_clock_seconds(text + b"\n" * lines) for lines in (1, 2))
    return {
        "bytes": len(text),
        "read_s": round(read, 3),
        "yaml_s": round(parsing, 3),
        "json_s": round(as_json, 4),
        "ratio": round(read / as_json, 1),
        "first_answer_s": round(first, 2),
        "second_answer_s": round(second, 2),
    }


def _processor_seconds(step: Callable[[], object]) -> float:
    """The least of some rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        step()
        times.append(time.process_time() - began)
    return min(times)


def _clock_seconds(text: bytes) -> float:
    began = time.perf_counter()
    asyncio.run(read_project(text))
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
