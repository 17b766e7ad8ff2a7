"""The record of a finished attempt at a job, on the backend's own disk (docs/spec/agent.md 10.3).

``metadata.json`` is the commit point of finalization: with it the attempt is finished, without it
nothing has been decided. Later jobs find their inputs in it, and an agent that lost its memory the
outcome. It names files, so it never leaves the backend; only the outcome within it does.
"""

import copy
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from pydantic import ConfigDict, Field

from rap.egress import Ending, Fault, JobOutcome
from rap.ids import attempt_of
from rap.models import JobDefinition, Model
from worker_agent.atomic_files import write_file
from worker_agent.disk import disk_faults
from worker_agent.engine.facts import ContainerFacts
from worker_agent.workspace.storage import LOG_FILE, METADATA_FILE, SAMPLES_FILE, Storage

log = structlog.get_logger()

REDACTED = "xxxx-REDACTED-xxxx"
SAFE_ENVIRONMENT = frozenset(
    {
        "PATH",
        "PYTHON_VERSION",
        "DEBIAN_FRONTEND",
        "DEBCONF_NONINTERACTIVE_SEEN",
        "UBUNTU_VERSION",
        "PYENV_SHELL",
        "PYENV_VERSION",
        "PYTHONUNBUFFERED",
        "OPENSAFELY_BACKEND",
        "TZ",
        "TEMP_DATABASE_NAME",
        "PYTHONPATH",
        "container",
        "LANG",
        "LC_ALL",
        "EHRQL_PERMISSIONS",
    }
)
"""Names whose values may be written down (docs/spec/agent.md 5.2)."""


class JobRecord(Model):
    """``metadata.json``. The defaults are those for files of earlier versions."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    outputs: dict[str, str] = Field(default_factory=dict)
    unmatched_patterns: tuple[str, ...] = ()
    unmatched_outputs: tuple[str, ...] = ()
    status_message: str | None = None
    hint: str | None = None
    timestamp_ns: int | None = None
    job_definition_id: str = ""
    job_definition_rap_id: str = ""
    task_id: str | None = None
    created_at: int | None = None
    user: str | None = None
    completed_at: int | None = None
    docker_image_id: str | None = None
    expected_image_id: str | None = None
    exit_code: str = "None"
    oom_killed: bool | None = None
    container_metadata: dict[str, Any] = Field(default_factory=dict)
    commit: str | None = None
    database_name: str | None = None
    action_version: str | None = None
    action_revision: str | None = None
    action_created: str | None = None
    base_revision: str | None = None
    base_created: str | None = None
    level4_excluded_files: dict[str, str] = Field(default_factory=dict)
    cancelled: bool = False
    error: dict[str, Any] | bool | None = False
    job_metrics: dict[str, Any] = Field(default_factory=dict)
    refused_outputs: dict[str, str] = Field(default_factory=dict)
    """What patterns covered but was not published. Ours, not of docs/spec/agent.md 10.3."""
    action: str | None = None
    """The action's own name, of which a label has the safe form. Ours, not of docs/spec/agent.md
    10.3."""
    outcome: JobOutcome | None = None
    """What was answered to the controller. Ours, not of docs/spec/agent.md 10.3."""

    def applies_to(self, definition: JobDefinition) -> bool:
        """Whether this is the record of that very attempt (docs/spec/agent.md 4.3)."""
        return not self.task_id or not definition.task_id or self.task_id == definition.task_id

    @property
    def has_outputs_on_record(self) -> bool:
        """Whether the job ran to its end, so that ``outputs`` is all it produced."""
        return not self.cancelled and not self.error


def image_facts(container: ContainerFacts | None) -> dict[str, str | None]:
    """The five keys about the image, from its labels."""
    labels = container.image_labels if container else {}
    return {
        "action_version": labels.get("org.opencontainers.image.version", "unknown"),
        "action_revision": labels.get("org.opencontainers.image.revision", "unknown"),
        "action_created": labels.get("org.opencontainers.image.created", "unknown"),
        "base_revision": labels.get("org.opensafely.base.vcs-ref", "unknown"),
        "base_created": labels.get("org.opencontainers.base.build-date", "unknown"),
    }


def redacted(inspection: dict[str, Any]) -> dict[str, Any]:
    """The engine's document of a container without the values of its environment.

    Only names on the safe list keep theirs; what does not even look like ``NAME=value`` is hidden
    whole.
    """
    document = copy.deepcopy(inspection)
    config = document.get("Config")
    if not isinstance(config, dict) or not config.get("Env"):
        return document
    if not isinstance(config["Env"], list):
        config["Env"] = REDACTED
        return document
    config["Env"] = [_redacted_entry(entry) for entry in config["Env"]]
    return document


def _redacted_entry(entry: object) -> str:
    name, equals, _ = str(entry).partition("=")
    if not equals:
        return REDACTED
    return str(entry) if name in SAFE_ENVIRONMENT else f"{name}={REDACTED}"


def read(path: Path) -> JobRecord:
    """The record in a file; OSError or ValueError if there is none."""
    return JobRecord.model_validate(json.loads(path.read_bytes()))


def load(storage: Storage, job_id: str) -> JobRecord | None:
    """The record of a job's latest finished attempt, whichever it is.

    A file that cannot be read as one counts as absent: it was left by a write that was cut short.
    A PermanentFault if there are several files (docs/spec/agent.md 4.3).
    """
    path = storage.find_metadata(job_id)
    if path is None:
        return None
    try:
        return read(path)
    except ValueError:
        log.warning("damaged metadata ignored", id=job_id, path=str(path))
        return None


def load_for(definition: JobDefinition, storage: Storage) -> JobRecord | None:
    """The record of this very attempt, if it is finished."""
    record = load(storage, definition.id)
    return record if record is not None and record.applies_to(definition) else None


def is_superseded(definition: JobDefinition, storage: Storage) -> bool:
    """Whether a later attempt at the job is on record: this one's is not wanted any more."""
    record = load(storage, definition.id)
    latest = attempt_of(record.task_id or "") if record is not None else 0
    return latest > attempt_of(definition.task_id)


def keep_earlier(storage: Storage, definition: JobDefinition) -> None:
    """Keep what an earlier attempt left beside the files that are about to replace it.

    ``logs.txt`` is kept as ``logs.001.txt``, the others likewise.
    """
    record = load(storage, definition.id)
    if record is None or not record.task_id or record.applies_to(definition):
        return
    folder, number = storage.log_dir(definition), attempt_of(record.task_id)
    for name in (LOG_FILE, SAMPLES_FILE, METADATA_FILE):
        path = folder / name
        with disk_faults(), suppress(FileNotFoundError, FileExistsError):
            (folder / f"{path.stem}.{number:03d}{path.suffix}").hardlink_to(path)


def save(storage: Storage, definition: JobDefinition, record: JobRecord) -> None:
    """Write the record, atomically and durably: the attempt is finished now."""
    content = json.dumps(record.model_dump(mode="json"), indent=2).encode()
    # A job's folder is in the month of its creation, so an earlier attempt's file is replaced;
    # :func:`keep_earlier` has kept it.
    write_file(storage.log_dir(definition) / METADATA_FILE, content)


def outcome_of(record: JobRecord, definition: JobDefinition) -> JobOutcome:
    """What to answer about a finished attempt; rebuilt for records of earlier versions."""
    if record.outcome is not None:
        return record.outcome.model_copy(
            update={"task_id": definition.task_id or record.outcome.task_id}
        )
    ending, fault = Ending.COMPLETED, None
    if record.cancelled:
        ending = Ending.CANCELLED
    elif record.error:
        ending, fault = Ending.FAILED, Fault.UNEXPECTED
    return JobOutcome(
        task_id=definition.task_id,
        ending=ending,
        exit_code=int(record.exit_code) if record.exit_code.lstrip("-").isdecimal() else None,
        has_unmatched_patterns=bool(record.unmatched_patterns),
        has_level4_excluded_files=bool(record.level4_excluded_files),
        fault=fault,
    )
