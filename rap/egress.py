"""The only types that may leave a backend (architecture.md 3).

Everything an agent returns, raises, heartbeats or signals is kept in a building outside the
secure environment. So these types hold numbers, times, fixed words and digests: no file names, no
patterns, no counts of files, no text from a container, a file or an exception.
"""

from enum import StrEnum

from pydantic import Field

from rap.models import Model

SHA256 = r"^sha256:[0-9a-f]{64}$"


class Stage(StrEnum):
    """How far the agent is with a job (agent.md 4.1); the values are status codes."""

    PREPARING = "preparing"
    PREPARED = "prepared"
    EXECUTING = "executing"
    EXECUTED = "executed"
    FINALIZING = "finalizing"
    FINALIZED = "finalized"


class Ending(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    """The program ran to an end; its exit code tells how."""
    CANCELLED = "cancelled"
    """Stopped by an order; no outputs were kept."""
    FAILED = "failed"
    """It could not be run, or its results could not be kept; the fault tells why."""


class ExitNote(StrEnum):
    """What the agent knows about an exit beyond its code (agent.md 9.4)."""

    OUT_OF_MEMORY = "out_of_memory"
    KILLED = "killed"
    OUT_OF_TIME = "out_of_time"


class Fault(StrEnum):
    """Why an attempt could not be carried out. The sentences are in :mod:`rap.errors`."""

    REPOSITORY_REFUSED = "repository_refused"
    COMMIT_UNAVAILABLE = "commit_unavailable"
    GIT_UNREACHABLE = "git_unreachable"
    WORKSPACE_ARCHIVED = "workspace_archived"
    IMAGE_UNAVAILABLE = "image_unavailable"
    IMAGE_PULL_FAILED = "image_pull_failed"
    INPUT_MISSING = "input_missing"
    INPUT_RECORD_MISSING = "input_record_missing"
    DATABASE_NOT_CONFIGURED = "database_not_configured"
    DATABASE_NETWORK_MISSING = "database_network_missing"
    DISK_FULL = "disk_full"
    CONTAINER_REFUSED = "container_refused"
    OUTPUT_PATH_REFUSED = "output_path_refused"
    OUTPUTS_REFUSED = "outputs_refused"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    CHECK_FAILED = "check_failed"
    CHECK_OUT_OF_TIME = "check_out_of_time"
    CHECK_ANSWER_REFUSED = "check_answer_refused"
    UNEXPECTED = "unexpected"


class Metrics(Model):
    """Use of the machine by a job (agent.md 13.3): percent of one core, MiB."""

    cpu_sample: float = 0.0
    cpu_peak: float = 0.0
    cpu_mean: float = 0.0
    cpu_cumsum: float = 0.0
    mem_mb_sample: float = 0.0
    mem_mb_peak: float = 0.0
    mem_mb_mean: float = 0.0
    mem_mb_cumsum: float = 0.0


class JobOutcome(Model):
    """How one attempt at a job ended."""

    task_id: str
    ending: Ending
    exit_code: int | None = None
    exit_note: ExitNote | None = None
    memory_limit_bytes: int | None = None
    memory_peak_bytes: int | None = None
    """The most that the container used at once, with its page cache; ``None``: not known."""
    run_time_limit_s: float | None = None
    """Set if the program was stopped because it ran longer than this."""
    has_unmatched_patterns: bool = False
    has_level4_excluded_files: bool = False
    fault: Fault | None = None
    image_id: str | None = Field(default=None, pattern=SHA256)
    stages: dict[Stage, float] = Field(default_factory=dict)
    """When each stage was entered, seconds since the epoch by the agent's clock."""
    metrics: Metrics | None = None


class JobProgress(Model):
    """Where one job of a host stands."""

    job_id: str
    rap_id: str
    attempt: int
    stage: Stage
    since: float
    trouble: Fault | None = None
    """Set while the agent retries something."""
    metrics: Metrics | None = None


SILENT_AFTER_S = 90
"""A host that has not reported for so long is given no more jobs: three reports are missing."""


class AgentReport(Model):
    """A host's sign of life (architecture.md 2.4): every 30 s and soon after a change of stage."""

    backend: str
    host: str
    at: float
    version: str = "unknown"
    engine: str | None = None
    """Version of the Docker engine; ``None`` while it does not answer."""
    free_disk_bytes: int | None = None
    room: int = 0
    """How many more jobs the host would take now."""
    jobs: tuple[JobProgress, ...] = ()


class DatabaseStatus(StrEnum):
    """What a ``dbstatus`` check may say (agent.md 12)."""

    MAINTENANCE = "db-maintenance"
    AVAILABLE = ""


class DataCheckStatus(StrEnum):
    """What a ``dbdatacheck`` check may say (agent.md 12)."""

    OK = "OK"
    FAILED = "FAILED"


class DatabaseStatusAnswer(Model):
    """The end of a ``dbstatus`` check: what it found, or why it found nothing."""

    status: DatabaseStatus | None = None
    fault: Fault | None = None


class DataCheckAnswer(Model):
    """The end of a ``dbdatacheck`` check: what it found, or why it found nothing."""

    status: DataCheckStatus | None = None
    fault: Fault | None = None


class Acknowledged(Model):
    """The empty answer of an order that was carried out."""
