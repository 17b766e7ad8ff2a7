"""How much processor time processes have taken: what limits a call, however busy the machine."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def milliseconds(pid: int) -> float:
    """User and system time of a process and all that it started and that still runs."""
    children: dict[int, list[int]] = {}
    times: dict[int, float] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        own = int(stat.parent.name)
        children.setdefault(int(fields[1]), []).append(own)
        # The last two are of children that have ended: git, for instance.
        times[own] = sum(map(int, fields[11:15])) * 1000 / _TICKS
    total, waiting = 0.0, [pid]
    while waiting:
        one = waiting.pop()
        total += times.get(one, 0.0)
        waiting += children.get(one, [])
    return total
