"""Entries that a manifest lacks, made from the records of jobs (docs/spec/agent.md 15.4, 15.5).

An entry that is there is never touched, but for whether its action still exists, where that is
asked for; nothing is deleted, and no file is copied. An entry describes the file that is there: one
that is gone gets none, and one that the gate to level 4 would stop today is not put before anybody.
"""

import hashlib
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from enum import StrEnum
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from rap.ids import job_of_container
from rap.models import JobLimits, Model, PrivacyLevel
from worker_agent.workspace import level4, metadata, safe_paths
from worker_agent.workspace.level4 import Level4Limits, Level4Verdict
from worker_agent.workspace.manifest import Document
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.storage import METADATA_FILE, Storage

_EVERY_ROW = 2**62


class Recorded(NamedTuple):
    """A finished job, as its record tells of it."""

    job_id: str
    workspace: str
    action: str
    record: JobRecord


class Verdict(StrEnum):
    """What is to become of one output of a record."""

    ADDED = "added"
    PRESENT = "present"
    """The manifest has an entry of that name: it stays as it is."""
    GONE = "gone"
    """Its file is not in the workspace any more."""
    REFUSED = "refused"
    """Its file may not be shown."""


class Finding(Model):
    """One output of a record, and what is to become of it. Never leaves the host."""

    name: str
    job_id: str
    verdict: Verdict
    reason: str = ""


def recorded(path: Path) -> Recorded | None:
    """Read the record of a job that ran to its end; ``None`` if it tells of no such job."""
    job_id = job_of_container(path.parent.name)
    try:
        record = metadata.read(path)
    except (OSError, ValueError):
        return None
    labels = (record.container_metadata.get("Config") or {}).get("Labels") or {}
    workspace, action = labels.get("workspace"), record.action or labels.get("action")
    if not job_id or not workspace or not action:
        return None
    return Recorded(job_id, str(workspace), str(action), record)


def records_of(storage: Storage, workspace: str) -> list[Recorded]:
    """The records of all jobs that published in a workspace, oldest first."""
    found = (recorded(path) for path in storage.logs.glob(f"*/*/{METADATA_FILE}"))
    published = [
        each
        for each in found
        if each and each.workspace == workspace and each.record.has_outputs_on_record
    ]
    return sorted(published, key=lambda each: (each.record.timestamp_ns or 0, each.job_id))


def flags(*, action_exists: bool, is_current: bool) -> dict[str, bool]:
    """What a rebuilt entry that is not current says of that (docs/spec/agent.md 15.4)."""
    if action_exists and is_current:
        return {}
    return {"out_of_date_action": not action_exists, "out_of_date_output": action_exists}


def missing_entries(
    storage: Storage,
    workspace: str,
    *,
    repo: str,
    wanted: Mapping[str, Recorded],
    present: Collection[str],
    actions: Collection[str],
    current: Collection[str] = (),
) -> tuple[dict[str, Document], list[Finding]]:
    """Make the entries of wanted outputs that a manifest lacks. Reads files; changes nothing.

    ``actions`` are those of the study as it is now; ``current`` the jobs that are the latest of
    theirs.
    """
    entries: dict[str, Document] = {}
    findings: list[Finding] = []
    for name, job in wanted.items():
        verdict, reason = Verdict.PRESENT, ""
        if name not in present:
            try:
                described = _describe(storage, workspace, job.record, name)
            except _Refused as refused:
                verdict, reason = Verdict.REFUSED, str(refused)
            except OSError as error:
                verdict, reason = Verdict.GONE, error.strerror or str(error)
            except safe_paths.UnsafeName as error:
                verdict, reason = Verdict.GONE, str(error)
            else:
                verdict = Verdict.ADDED
                entries[name] = {
                    "level": job.record.outputs[name],
                    "job_id": job.job_id,
                    "job_request": job.record.job_definition_rap_id,
                    "action": job.action,
                    "user": job.record.user,
                    "repo": repo,
                    "commit": job.record.commit,
                    **described,
                    **flags(action_exists=job.action in actions, is_current=job.job_id in current),
                }
        findings.append(Finding(name=name, job_id=job.job_id, verdict=verdict, reason=reason))
    return entries, findings


def with_entries(document: Document, entries: Mapping[str, Document]) -> Document:
    """The manifest with new entries behind the old ones; what is there stays. Pure."""
    fresh = {name: entry for name, entry in entries.items() if name not in document["outputs"]}
    return {**document, "outputs": {**document["outputs"], **fresh}}


def with_actions(document: Document, actions: Collection[str]) -> Document:
    """The manifest with ``out_of_date_action`` of each entry as it is now (15.5). Pure."""
    return {
        **document,
        "outputs": {
            name: {**entry, "out_of_date_action": entry.get("action") not in actions}
            for name, entry in document["outputs"].items()
        },
    }


class _Refused(Exception):
    """Why a file may not be shown."""


def _describe(storage: Storage, workspace: str, record: JobRecord, name: str) -> Document:
    """What an entry says of its file.

    Of a moderately sensitive output that is the file at level 4, since the release tool compares
    its hash; of an excluded one the message file in its place; of any other the high privacy file.
    """
    excluded = record.level4_excluded_files.get(name)
    moderate = record.outputs[name] == PrivacyLevel.MODERATELY_SENSITIVE
    area = storage.medium(workspace) if moderate else storage.high(workspace)
    rows = columns = None
    with _opened(area, f"{name}.txt" if moderate and excluded else name) as file:
        facts = os.fstat(file.fileno())
        if moderate and not excluded:
            verdict = _content_verdict(file, name)
            if verdict.excluded:
                raise _Refused(verdict.message)
            rows, columns = verdict.row_count, verdict.col_count
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if moderate and excluded and name.endswith(".csv"):
        with suppress(OSError), _opened(storage.high(workspace), name) as file:
            verdict = _content_verdict(file, name)
            rows, columns = verdict.row_count, verdict.col_count
    return {
        "size": facts.st_size,
        "timestamp": facts.st_mtime,
        "content_hash": digest,
        "excluded": excluded is not None,
        "message": excluded,
        "row_count": rows,
        "col_count": columns,
    }


def _opened(area: Path, name: str) -> BufferedReader:
    with safe_paths.directory(area) as root:
        return os.fdopen(safe_paths.open_file(root, name), "rb")


def _content_verdict(file: BufferedReader, name: str) -> Level4Verdict:
    """The gate without the limits on size and rows, which came with the job and are not kept."""
    limits = Level4Limits(
        max_filesize=os.fstat(file.fileno()).st_size,
        max_csv_rows=_EVERY_ROW,
        file_types=JobLimits().level4_file_types,
    )
    return level4.decide(file, name, limits)
