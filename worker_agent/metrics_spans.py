"""The spans of measuring: ``METRICS_TICK``, and in it ``METRICS`` for each job (agent.md 14.2)."""

from collections.abc import Iterable
from dataclasses import dataclass

from rap import tracing
from rap.egress import Fault
from rap.tracing import Event
from worker_agent.engine.facts import RunningContainer, UsageReading
from worker_agent.jobs import Job
from worker_agent.spans import job_attributes
from worker_agent.usage import Usage

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Measurement:
    """One reading of one container."""

    container: RunningContainer
    reading: UsageReading
    usage: Usage | None
    """What is known with it; ``None`` where no time had passed."""
    job: Job | None = None
    """The job, if this process works on it."""


def tell_tick(
    measured: Iterable[Measurement],
    *,
    backend: str,
    start_ns: int,
    end_ns: int,
    took_ns: tuple[int, int],
    containers: int,
    timed_out: bool,
    fault: Fault | None,
) -> None:
    """Emit the spans of one round. Never fails.

    Args:
        measured: what was read.
        backend: of this agent.
        start_ns: when the round before ended.
        end_ns: when this one did.
        took_ns: when the engine was asked, from and to.
        containers: how many containers of jobs run.
        timed_out: the engine let a question go unanswered.
        fault: another reason why figures are missing.
    """
    if not tracing.is_on():
        return
    with tracing.harmless("failed to trace metrics"):
        metrics, tick = tracing.tracer("metrics"), tracing.new_root()
        flags: dict[str, object] = {"backend": backend}
        if timed_out:
            flags["stats_timeout"] = True
        if fault is not None:
            flags["stats_error"] = True
        tracing.record(
            metrics,
            "get_job_stats",
            start_ns=took_ns[0],
            end_ns=took_ns[1],
            attributes={"container_cache_size": containers},
            parent=tick,
            events=[Event("stats_error", took_ns[1], {"fault": fault})] if fault else (),
        )
        for each in measured:
            tracing.record(
                metrics,
                "METRICS",
                start_ns=start_ns,
                end_ns=end_ns,
                attributes=_attributes(each, flags, end_ns),
                parent=tick,
            )
        tracing.record(
            metrics,
            "METRICS_TICK",
            start_ns=start_ns,
            end_ns=end_ns,
            attributes=flags,
            identity=tick,
        )


def _attributes(one: Measurement, flags: tracing.Attributes, now_ns: int) -> tracing.Attributes:
    attributes: dict[str, object] = {
        **flags,
        "container_id": one.container.id,
        "started_at": int(one.container.created_at),
        "memory_used": one.reading.memory_bytes,
    }
    if one.usage is None:
        attributes["bad_tick_runtime"] = now_ns // tracing.NS - int(one.container.created_at)
    else:
        attributes["cpu_percentage"] = one.usage.metrics.cpu_sample
        attributes |= one.usage.metrics.model_dump()
    if one.job is None:
        return {**attributes, "job": one.container.job_id, "task": UNKNOWN}
    return {
        **attributes,
        **job_attributes(one.job.definition, taken_ns=one.job.spans.taken_ns),
    }
