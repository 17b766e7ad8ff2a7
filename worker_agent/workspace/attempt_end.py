"""How an attempt came to its end: all that finalizing it needs to be given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rap.egress import Ending, Fault, Interruption, Metrics, Stage
from worker_agent.engine.facts import ContainerFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnd:
    """Either its program ran to its end, or an order, a fault or an interruption ended it."""

    container: ContainerFacts | None = None
    """The last inspection; ``None``: it never existed."""
    raw_log: Path | None = None
    """What the container wrote, lines with their times; ``None``: no container."""
    cancelled: bool = False
    """An order ended the attempt."""
    killed: bool = False
    """That order came from an administrator of this host."""
    fault: Fault | None = None
    """Why the attempt could not be carried out."""
    interruption: Interruption | None = None
    """What took the program away."""
    detail: str | None = None
    """The same for the author of the study, where more than the fault's own sentence is known."""
    cause: str = ""
    """The same for people on the host. Neither leaves it."""
    metrics: Metrics | None = None
    """What the container used of the machine."""
    stages: Mapping[Stage, float] = field(default_factory=dict)
    """When each stage was entered, seconds since the epoch."""

    @property
    def ending(self) -> Ending:
        """What it comes to; a cancelled attempt is that, whatever else went wrong."""
        if self.cancelled:
            return Ending.CANCELLED
        if self.interruption:
            return Ending.INTERRUPTED
        return Ending.FAILED if self.fault else Ending.COMPLETED

    @property
    def ended_container(self) -> ContainerFacts | None:
        """The container, if its program has run and runs no more."""
        container = self.container
        return container if container and container.started and not container.running else None
