"""When an attempt entered its stages: by our own notes and by the engine, and by nothing else.

What the job's program could have written is never read as a time of ours.
"""

from itertools import accumulate

from rap.egress import Stage
from rap.models import JobDefinition
from worker_agent.engine.facts import ContainerFacts
from worker_agent.host import Host


def stage_times(
    host: Host, definition: JobDefinition, container: ContainerFacts | None, *, finalizing_at: float
) -> dict[Stage, float]:
    """Seconds since the epoch, right even after a restart of the agent; they never go back."""
    stages: dict[Stage, float] = {}
    owner = host.attempts.owner(definition.attempt_name)
    if owner is not None and owner.task_id == definition.task_id:
        stages[Stage.PREPARING] = owner.preparing_at
        if owner.prepared_at is not None:
            stages[Stage.PREPARED] = owner.prepared_at
    if container is not None and container.started_at_ns is not None:
        stages[Stage.EXECUTING] = container.started_at_ns / 1e9
    if container is not None and container.finished_at_ns is not None:
        stages[Stage.EXECUTED] = container.finished_at_ns / 1e9
    stages[Stage.FINALIZING] = finalizing_at
    # The engine notes the end of a short program before its start; other clocks differ, too.
    latest = accumulate(stages.values(), max)
    return dict(zip(stages, latest, strict=True))
