"""The record of provenance of a job: where each file it read and wrote comes from.

One file a job, ``metadata/provenance/<job id>.json`` in the workspace of the high privacy area, and
there only: it names files, people and permissions. It is filed together with the job's outputs and
the manifest, under the workspace's lock, so that it is there exactly if they are. Jobs that filed
no outputs have none; those that did and failed have one that says so.

Records only ever grow: a new field needs a default.
"""

from collections.abc import Iterator
from pathlib import Path

import structlog
from pydantic import ConfigDict, Field

from rap.egress import Stage
from rap.models import Model, PrivacyLevel
from worker_agent.workspace.storage import Storage, component

log = structlog.get_logger()

FOLDER = "provenance"


class InputFile(Model):
    """A file that a job found in its volume because another job had filed it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    job_id: str
    """The job whose file it is, which succeeded."""
    action: str
    """What that job ran: an action that the reader needs."""
    size: int
    sha256: str
    """Of the bytes that were copied, hexadecimal."""
    level: PrivacyLevel | None = None
    """What its maker gave it; ``None``: its record does not tell."""
    verified: bool = True
    """Whether these are the bytes that the job filed; if not, no hash of those is on record."""


class OutputFile(Model):
    """A file that a job filed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    size: int
    sha256: str
    """Hexadecimal."""
    level: PrivacyLevel
    excluded: bool = False
    """The gate keeps it from level 4, though its pattern would show it."""
    reason: str | None = None
    """Why, in short."""
    untouched: bool = False
    """The job did not make it: it lay in the volume from the start, as an input or from the
    repository, and a pattern of the job covers it. Its level is then that of its maker."""
    made_by: str | None = None
    """The job that made an untouched input; ``None``: this one, or it is from the repository."""


class ProvenanceRecord(Model):
    """All that explains the outputs of one job."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    job_id: str
    task_id: str = ""
    rap_id: str = ""
    backend: str = ""
    workspace: str
    action: str
    repo: str
    """Of the study; the code that ran is in ``action_repo``, another for a reusable action."""
    branch: str = ""
    commit: str
    action_repo: str = ""
    action_commit: str = ""
    created_at: int = 0
    """When the job was asked for, seconds since the epoch."""
    user: str | None = None
    project: str = ""
    orgs: tuple[str, ...] = ()
    database_name: str | None = None
    """``None``: the job could not reach a database."""
    permissions: tuple[str, ...] = ()
    """What it might read there."""
    image: str = ""
    """Its name, with registry and tag."""
    image_digest: str | None = None
    """As asked for, ``sha256:…``; ``None``: whatever the tag named on the host."""
    image_id: str | None = None
    """What the engine ran, ``sha256:…``."""
    args: tuple[str, ...] = ()
    patterns: dict[str, PrivacyLevel] = Field(default_factory=dict)
    """The outputs that the action declares."""
    level4_max_filesize: int | None = None
    """Bytes; the limits of the gate for this job."""
    level4_max_csv_rows: int | None = None
    level4_file_types: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    """The jobs whose outputs it was planned to read, in the order of the action's needs."""
    inputs: tuple[InputFile, ...] = ()
    outputs: tuple[OutputFile, ...] = ()
    succeeded: bool
    """The program ended with 0, every pattern was matched, and the outputs were filed."""
    cancelled: bool = False
    """They were filed by a host that was given up: the job has ended, or gone on, without it."""
    exit_code: int | None = None
    stages: dict[Stage, float] = Field(default_factory=dict)
    """When each stage was entered, seconds since the epoch."""
    filed_at_ns: int
    """Nanoseconds since the epoch; of two jobs of one workspace, the later one has more."""


def folder_of(storage: Storage, workspace: str) -> Path:
    """Where the records of a workspace are."""
    return storage.high(workspace) / "metadata" / FOLDER


def path_of(storage: Storage, workspace: str, job_id: str) -> Path:
    """The record of one job."""
    return storage.high(workspace) / name_of(job_id)


def name_of(job_id: str) -> str:
    """The name of the record of a job, in its workspace."""
    return f"metadata/{FOLDER}/{component('job id', job_id)}.json"


def encoded(record: ProvenanceRecord) -> bytes:
    """A record as it is filed."""
    return record.model_dump_json(indent=2).encode()


def load(storage: Storage, workspace: str, job_id: str) -> ProvenanceRecord | None:
    """The record of a job; ``None`` if it has none, or a damaged one."""
    return _read(path_of(storage, workspace, job_id))


def records_of(storage: Storage, workspace: str) -> Iterator[ProvenanceRecord]:
    """The records of all jobs that filed outputs in a workspace, in no order."""
    for path in folder_of(storage, workspace).glob("*.json"):
        record = _read(path)
        if record is not None:
            yield record


def _read(path: Path) -> ProvenanceRecord | None:
    try:
        return ProvenanceRecord.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError:
        log.warning("damaged record of provenance ignored", path=str(path))
        return None
