"""What the engine says about itself and about containers, as plain facts."""

from pathlib import Path
from typing import Any

from pydantic import Field

from rap.models import Model

KILLED = 137
"""The exit code of a program that got SIGKILL, from whomever."""


class EngineState(Model):
    """What the engine says about itself."""

    version: str
    """Such as ``28.2.2``."""
    rootless: bool
    """It maps the root of a container to the user that it runs as."""
    root_dir: Path
    """Where it keeps images, as its own host sees it."""
    storage_driver: str
    cgroup_version: str
    cgroup_driver: str
    live_restore: bool
    swap_limit: bool
    memory_limit: bool
    user_namespaces: bool
    """Whether the engine gives containers other users than they ask for."""
    at: float | None
    """The engine's own clock, seconds since the epoch."""


class EngineRun(Model):
    """One run of the engine, from its start to its end, by what tells it from others.

    Docker does not say when it was started. So this is what every start makes anew; where neither
    can be seen, the runs cannot be told apart.
    """

    process: str | None = None
    """Number and start of the process that takes connections, if that is Docker's and is to be seen
    from here: not where systemd holds the socket, nor from most containers."""
    network: str | None = None
    """Id of the default network, which is made again at each start; ``None`` where it is off."""

    def is_other(self, before: "EngineRun") -> bool | None:
        """Whether the engine was started again after ``before``; ``None``: not to be known."""
        pairs = ((before.process, self.process), (before.network, self.network))
        known = [old != new for old, new in pairs if old is not None and new is not None]
        return any(known) if known else None


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
    ended: bool = False
    """The engine itself has seen the end, in the run that answers."""


class RunningContainer(Model):
    """A running container of a job, as a listing shows it."""

    id: str
    job_id: str
    created_at: float
    """Seconds since the epoch, whole ones."""


class CheckRun(Model):
    """How the program of a database check ended."""

    exit_code: int
    output: bytes
    """The end of its standard output."""
    errors: bytes
    """The end of its standard error; stays on the host."""
