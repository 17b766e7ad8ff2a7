"""Reading the engine's documents. Pure."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from worker_agent.engine.container import TASK_LABEL
from worker_agent.engine.facts import ContainerFacts, EndEvents, UsageReading

_SIGKILL = "9"
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def nanoseconds(text: str) -> int | None:
    """A moment as Docker writes it, in ns since the epoch.

    ``None`` for text that is no date and for Docker's year 1, which means "never".
    """
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    whole = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).astimezone(UTC)
    if whole.year == 1:
        return None
    fraction = int((match[2] or "").ljust(9, "0"))
    return int(whole.timestamp()) * 1_000_000_000 + fraction


def container_facts(document: Mapping[str, Any]) -> ContainerFacts:
    """The facts in the engine's answer to an inspection of a container."""
    state, config, host = document["State"], document["Config"], document["HostConfig"]
    labels = config.get("Labels") or {}
    started_at = nanoseconds(state.get("StartedAt", ""))
    running = bool(state["Running"])
    ended = started_at is not None and not running
    return ContainerFacts(
        id=document["Id"],
        name=document["Name"].removeprefix("/"),
        running=running,
        started=started_at is not None,
        pid=state.get("Pid") or None,
        exit_code=state["ExitCode"] if ended else None,
        oom_killed=bool(state.get("OOMKilled")),
        started_at_ns=started_at,
        finished_at_ns=nanoseconds(state.get("FinishedAt", "")) if ended else None,
        image_id=document.get("Image"),
        image_labels=labels,
        memory_limit_bytes=host.get("Memory") or None,
        task_id=labels.get(TASK_LABEL, ""),
        inspection=dict(document),
    )


def end_events(documents: Iterable[Mapping[str, Any]]) -> EndEvents:
    """What the engine's events say about how a container ended."""
    out_of_memory = killed = ended = False
    for document in documents:
        action = document.get("Action")
        attributes = (document.get("Actor") or {}).get("Attributes") or {}
        out_of_memory = out_of_memory or action == "oom"
        ended = ended or action == "die"
        # Other signals leave it to the program what becomes of it.
        killed = killed or (action == "kill" and attributes.get("signal") == _SIGKILL)
    return EndEvents(out_of_memory=out_of_memory, killed=killed, ended=ended)


def moment(nanoseconds_: int) -> str:
    """A moment as the engine wants to be given it."""
    return f"{nanoseconds_ // 1_000_000_000}.{nanoseconds_ % 1_000_000_000:09d}"


def usage_reading(document: Mapping[str, Any]) -> UsageReading | None:
    """What the engine's statistics say; ``None`` for a container that runs no more."""
    at = nanoseconds(document.get("read", ""))
    memory = document.get("memory_stats") or {}
    if at is None or "usage" not in memory:
        return None
    detail = memory.get("stats") or {}
    # cgroup v1 has the first name, v2 the second; the page cache is not the job's own use.
    cache = detail.get("total_inactive_file", detail.get("inactive_file", 0))
    return UsageReading(
        at=at / 1e9,
        cpu_total_ns=document["cpu_stats"]["cpu_usage"]["total_usage"],
        memory_bytes=max(0, memory["usage"] - cache),
    )
