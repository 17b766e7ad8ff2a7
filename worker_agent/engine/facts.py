"""What the engine says about itself and about one container, as plain facts for the rest of the
agent.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from rap.models import Model


class EngineFacts(Model):
    """The engine itself."""

    version: str
    """Such as ``28.2.2``."""
    rootless: bool
    """It maps the root of a container to the user that it runs as."""
    root_dir: Path
    """Where it keeps images, as its own host sees it."""


class ContainerFacts(Model):
    """One inspection of a container. Stays inside the backend."""

    id: str
    name: str
    running: bool
    started: bool
    """False for a container that was created but whose start failed."""
    pid: int | None = None
    """Of the first process of a running container, as the engine's host counts."""
    exit_code: int | None = None
    oom_killed: bool = False
    """The kernel killed a process of the container for lack of memory, its main one or another."""
    killed: bool = False
    """Somebody had the engine kill the container."""
    run_time_limit_s: float | None = None
    """The agent stopped the container because it ran longer than this."""
    started_at_ns: int | None = None
    finished_at_ns: int | None = None
    image_id: str | None = None
    """Config digest of the image, ``sha256:…``."""
    image_labels: dict[str, str] = Field(default_factory=dict)
    memory_limit_bytes: int | None = None
    memory_peak_bytes: int | None = None
    """The most that the container used at once, if that was seen."""
    task_id: str = ""
    """The attempt that the container was started for; empty when it does not say."""
    inspection: dict[str, Any] = Field(default_factory=dict, repr=False)
    """The engine's full document; its environment holds secrets until it is redacted."""


class UsageReading(Model):
    """What a running container has used, at one moment."""

    at: float
    """Seconds since the epoch, by the engine's clock."""
    cpu_total_ns: int
    """Processor time of all cores since the container started."""
    memory_bytes: int
    """Memory in use without the page cache, as ``docker stats`` counts it."""


class EndEvents(Model):
    """What the engine remembers about the end of a container; it may have forgotten."""

    out_of_memory: bool = False
    killed: bool = False
    """Somebody had the engine send it SIGKILL."""


class RunningContainer(Model):
    """A running container of a job, as a listing shows it."""

    id: str
    job_id: str
    created_at: float
    """Seconds since the epoch, whole ones."""
