"""The spans of measuring: ``METRICS_TICK``, in it ``METRICS`` a job (docs/spec/agent.md 14.2)."""

from dataclasses import dataclass, field

from rap.egress import Fault
from rap.errors import JobFault
from rap.telemetry import traces
from rap.telemetry.traces import Event
from worker_agent.attempt_spans import UNKNOWN, job_attributes
from worker_agent.engine.facts import RunningContainer, UsageReading
from worker_agent.running_jobs import Job
from worker_agent.state.usage import Usage


@dataclass(frozen=True)
class Measurement:
    """One reading of one container."""

    container: RunningContainer
    reading: UsageReading
    usage: Usage | None
    """What is known with it; ``None`` where no time had passed."""
    job: Job | None = None
    """The job, if this process works on it."""


@dataclass
class Round:
    """What came of measuring all running jobs once."""

    measured: list[Measurement] = field(default_factory=list)
    asked_ns: tuple[int, int] = (0, 0)
    """When the engine was asked, from and to."""
    containers: int = 0
    """How many containers of jobs run."""
    timed_out: bool = False
    """The engine let a question go unanswered."""
    fault: Fault | None = None
    """Another reason why figures are missing."""

    def missed(self, fault: JobFault) -> None:
        """The engine did not answer a question."""
        if isinstance(fault.__cause__, TimeoutError):
            self.timed_out = True
        else:
            self.fault = fault.fault


def record_round(found: Round, *, backend: str, start_ns: int, end_ns: int) -> None:
    """Record the spans of one round, which begin when the round before ended. Never fails."""
    if not traces.is_on():
        return
    with traces.harmless("failed to trace metrics"):
        metrics, tick = traces.tracer("metrics"), traces.new_root()
        flags: dict[str, object] = {"backend": backend}
        if found.timed_out:
            flags["stats_timeout"] = True
        if found.fault is not None:
            flags["stats_error"] = True
        asked, answered = found.asked_ns
        traces.record(
            metrics,
            "get_job_stats",
            start_ns=asked,
            end_ns=answered,
            attributes={"container_cache_size": found.containers},
            parent=tick,
            events=[Event("stats_error", answered, {"fault": found.fault})] if found.fault else (),
        )
        for each in found.measured:
            traces.record(
                metrics,
                "METRICS",
                start_ns=start_ns,
                end_ns=end_ns,
                attributes=_attributes(each, flags, end_ns),
                parent=tick,
            )
        traces.record(
            metrics,
            "METRICS_TICK",
            start_ns=start_ns,
            end_ns=end_ns,
            attributes=flags,
            identity=tick,
        )


def _attributes(one: Measurement, flags: traces.Attributes, now_ns: int) -> traces.Attributes:
    attributes: dict[str, object] = {
        **flags,
        "container_id": one.container.id,
        "started_at": int(one.container.created_at),
        "memory_used": one.reading.memory_bytes,
    }
    if one.usage is None:
        attributes["bad_tick_runtime"] = now_ns // traces.NS - int(one.container.created_at)
    else:
        attributes["cpu_percentage"] = one.usage.metrics.cpu_sample
        attributes |= one.usage.metrics.model_dump()
    if one.job is None:
        return {**attributes, "job": one.container.job_id, "task": UNKNOWN}
    return {**attributes, **job_attributes(one.job.definition, taken_ns=one.job.spans.taken_ns)}
