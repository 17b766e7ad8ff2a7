"""The only types that may leave a backend (docs/explanation/architecture.md).

Everything an agent returns, raises, heartbeats or signals is kept in a building outside the
secure environment. So these types hold numbers, times, fixed words and digests: no file names, no
patterns, no counts of files, no text from a container, a file or an exception.

Every number has bounds, for what arrives as well as for what leaves: a value out of bounds is
dropped and said in the log, so that neither a job's program nor a mistaken agent can put into a
history what no workflow could carry on with.
"""

import logging
from collections.abc import Iterable, Mapping
from enum import StrEnum
from itertools import chain, groupby
from typing import Annotated, Any, Self

from pydantic import Field, ModelWrapValidatorHandler, ValidationError, model_validator

from rap.models import Model

log = logging.getLogger(__name__)

SHA256 = r"^sha256:[0-9a-f]{64}$"

Moment = Annotated[float, Field(ge=0, le=7_258_118_400)]
"""Seconds since the epoch, until the year 2200: what any calendar can show."""

Bytes = Annotated[int, Field(ge=0, le=2**60)]
Count = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(ge=0, le=100 * 366 * 24 * 3600)]
Measure = Annotated[float, Field(ge=0, le=1e15)]
"""A figure of a machine's use, or its sum over the time of a job."""

ImageKey = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
"""See :func:`rap.ids.image_key`."""

StorageId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""Drawn by lot when a storage is first used."""

Word = Annotated[str, Field(max_length=100)]
Id = Annotated[str, Field(max_length=255)]


class Egress(Model):
    """What crosses the border. What is out of bounds in it is left out, on either side.

    A field becomes its default; of a collection only the entry goes. Where neither can be, the
    whole is refused with a ValidationError.
    """

    @model_validator(mode="wrap")
    @classmethod
    def _without_what_is_out_of_bounds(
        cls,
        values: Any,  # noqa: ANN401 - whatever arrives
        handler: ModelWrapValidatorHandler[Self],
    ) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            if not isinstance(values, Mapping):
                raise
            wrong = [each["loc"] for each in error.errors(include_url=False, include_input=False)]
            kept = handler(_without(values, wrong))
            fields = sorted({str(place[0]) for place in wrong})
            log.warning("%s: left out what is out of bounds: %s", cls.__name__, ", ".join(fields))
            return kept


def _without(values: Mapping[str, Any], wrong: Iterable[tuple[int | str, ...]]) -> dict[str, Any]:
    """The values of a model without those that its errors are about."""
    kept = dict(values)
    for field, places in groupby(sorted(wrong, key=str), key=lambda place: str(place[0])):
        value, entries = values.get(field), {str(rest[0]) for _, *rest in places if rest}
        if entries and isinstance(value, Mapping):
            kept[field] = {key: each for key, each in value.items() if str(key) not in entries}
        elif entries and isinstance(value, list | tuple):
            kept[field] = [each for at, each in enumerate(value) if str(at) not in entries]
        else:
            kept.pop(field, None)
    return kept


class Stage(StrEnum):
    """How far the agent is with a job (docs/spec/agent.md 4.1); the values are status codes."""

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
    RETURNED = "returned"
    """No program was started, for a fault of the host, which the host reports until it has passed;
    it is not held against the job."""
    INTERRUPTED = "interrupted"
    """What the program ran on went away beneath it; no outputs were kept. Nobody's fault but ours:
    the interruption tells what went."""


class Interruption(StrEnum):
    """What took a program away that had been started."""

    HOST_REBOOTED = "host_rebooted"
    ENGINE_RESTARTED = "engine_restarted"
    CONTAINER_REMOVED = "container_removed"
    """By hand."""
    VOLUME_GONE = "volume_gone"
    """The folder that it worked in was deleted or replaced."""


class ExitNote(StrEnum):
    """What the agent knows about an exit beyond its code (docs/spec/agent.md 9.4)."""

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
    DISK_READ_ONLY = "disk_read_only"
    CONTAINER_REFUSED = "container_refused"
    OUTPUT_PATH_REFUSED = "output_path_refused"
    OUTPUTS_REFUSED = "outputs_refused"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    OTHER_STORAGE = "other_storage"
    """The host has not the files of the backend's other hosts; its backend says so, not it."""
    CHECK_FAILED = "check_failed"
    CHECK_OUT_OF_TIME = "check_out_of_time"
    CHECK_ANSWER_REFUSED = "check_answer_refused"
    UNEXPECTED = "unexpected"


TRANSIENT_FAULTS = frozenset(
    {
        Fault.GIT_UNREACHABLE,
        Fault.IMAGE_PULL_FAILED,
        Fault.DATABASE_NETWORK_MISSING,
        Fault.DISK_FULL,
        Fault.DISK_READ_ONLY,
        Fault.CONTAINER_REFUSED,
        Fault.ENGINE_UNAVAILABLE,
        Fault.UNEXPECTED,
    }
)
"""Faults after which a new attempt may succeed without anybody changing the request."""


CLOSES_HOST = frozenset(
    {Fault.ENGINE_UNAVAILABLE, Fault.DISK_FULL, Fault.DISK_READ_ONLY, Fault.OTHER_STORAGE}
)
"""Faults of a host that takes no job for as long as they last."""

CLOSES_DATABASE = frozenset({Fault.DATABASE_NETWORK_MISSING})
"""Faults of a host that takes no database job for as long as they last."""


class Metrics(Egress):
    """Use of the machine by a job (docs/spec/agent.md 13.3): percent of one core, MiB."""

    cpu_sample: Measure = 0.0
    cpu_peak: Measure = 0.0
    cpu_mean: Measure = 0.0
    cpu_cumsum: Measure = 0.0
    mem_mb_sample: Measure = 0.0
    mem_mb_peak: Measure = 0.0
    mem_mb_mean: Measure = 0.0
    mem_mb_cumsum: Measure = 0.0


class JobOutcome(Egress):
    """How one attempt at a job ended."""

    task_id: Id
    ending: Ending
    exit_code: Annotated[int, Field(ge=0, le=255)] | None = None
    exit_note: ExitNote | None = None
    memory_limit_bytes: Bytes | None = None
    memory_peak_bytes: Bytes | None = None
    """The most that the container used at once, with its page cache; ``None``: not known."""
    run_time_limit_s: Seconds | None = None
    """Set if the program was stopped because it ran longer than this."""
    has_unmatched_patterns: bool = False
    has_level4_excluded_files: bool = False
    fault: Fault | None = None
    interruption: Interruption | None = None
    image_id: str | None = Field(default=None, pattern=SHA256)
    stages: dict[Stage, Moment] = Field(default_factory=dict)
    """When each stage was entered, seconds since the epoch by the agent's clock."""
    metrics: Metrics | None = None


class JobProgress(Egress):
    """Where one job of a host stands."""

    job_id: Id
    rap_id: Id
    attempt: Count
    stage: Stage
    since: Moment
    trouble: Fault | None = None
    """Set while the agent retries something."""
    metrics: Metrics | None = None


SILENT_AFTER_S = 90
"""A host that has not reported for so long is given no more jobs: three reports are missing."""


class AgentReport(Egress):
    """A host's sign of life (docs/explanation/architecture.md): every 30 s and soon after
    a change of stage.
    """

    backend: Id
    host: Id
    at: Moment
    version: Word = "unknown"
    engine: Word | None = None
    """Version of the Docker engine; ``None`` while it does not answer."""
    free_disk_bytes: Bytes | None = None
    room: Count = 0
    """How many more jobs the host would take now."""
    storage: StorageId | None = None
    """Whose files it has: the same for all hosts of a backend that share them."""
    jobs: tuple[JobProgress, ...] = ()
    closed: tuple[Fault, ...] = ()
    """What keeps the host from starting jobs, or database jobs, until it has passed."""
    missing_images: tuple[ImageKey, ...] = Field(default=(), max_length=1000)
    """Images that it could not get; it goes on trying, and takes no job of theirs until then."""


def closed_by(living: Iterable[AgentReport], *, requires_db: bool = False) -> tuple[Fault, ...]:
    """What keeps each of the agents in contact from starting a job; nothing if one can, or none is.

    Which images are missing does not count.
    """
    concerning = CLOSES_HOST | CLOSES_DATABASE if requires_db else CLOSES_HOST
    found = [concerning & {*report.closed} for report in living]
    return tuple(sorted({*chain(*found)})) if all(found) else ()


class DatabaseStatus(StrEnum):
    """What a ``dbstatus`` check may say (docs/spec/agent.md 12)."""

    MAINTENANCE = "db-maintenance"
    AVAILABLE = ""


class DataCheckStatus(StrEnum):
    """What a ``dbdatacheck`` check may say (docs/spec/agent.md 12)."""

    OK = "OK"
    FAILED = "FAILED"


class DatabaseStatusAnswer(Egress):
    """The end of a ``dbstatus`` check: what it found, or why it found nothing."""

    status: DatabaseStatus | None = None
    fault: Fault | None = None


class DataCheckAnswer(Egress):
    """The end of a ``dbdatacheck`` check: what it found, or why it found nothing."""

    status: DataCheckStatus | None = None
    fault: Fault | None = None


class Acknowledged(Egress):
    """The empty answer of an order that was carried out."""
