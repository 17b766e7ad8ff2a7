"""Entries that a manifest lacks, made again from the records of jobs (agent.md 15.4, 15.5).

An entry that is there is never touched, but for whether its action still exists, where that is
asked for; nothing is deleted, and no file is copied. An entry describes the file that is there: one
that is gone gets none, and one that the gate to level 4 would stop today is not put before anybody.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from rap.ids import job_of_container
from rap.models import JobLimits, Model, PrivacyLevel
from worker_agent.workspace import beneath, level4
from worker_agent.workspace.level4 import Level4Limits
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

    @property
    def ended(self) -> int:
        """When, for comparing: ns since the epoch."""
        return self.record.timestamp_ns or 0


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
        record = JobRecord.model_validate(json.loads(path.read_bytes()))
    except (OSError, ValueError, ValidationError):
        return None
    labels = (record.container_metadata.get("Config") or {}).get("Labels") or {}
    workspace, action = labels.get("workspace"), labels.get("action")
    if not job_id or not workspace or not action:
        return None
    return Recorded(job_id, str(workspace), str(action), record)


def records_of(storage: Storage, workspace: str) -> list[Recorded]:
    """The records of all jobs that were filed in a workspace, oldest first."""
    found = (recorded(path) for path in storage.logs.glob(f"*/*/{METADATA_FILE}"))
    filed = [
        each
        for each in found
        if each and each.workspace == workspace and each.record.has_outputs_on_record
    ]
    return sorted(filed, key=lambda each: (each.ended, each.job_id))


def newest(records: Iterable[Recorded]) -> dict[str, Recorded]:
    """Output name to the job that made it last; later records win."""
    return {name: each for each in records for name in each.record.outputs}


def latest_of_actions(records: Iterable[Recorded]) -> dict[str, str]:
    """Action to the job that ran it last; only its outputs are up to date."""
    return {each.action: each.job_id for each in records}


def flags(*, action_exists: bool, is_current: bool) -> dict[str, bool]:
    """What a rebuilt entry says about being out of date (agent.md 15.4).

    Args:
        action_exists: the study still has the action.
        is_current: no later run of the action is known; then the entry is as a fresh one.
    """
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
    """Make the entries of outputs that a manifest lacks. Reads files; changes nothing.

    Args:
        storage: the backend's folders.
        workspace: its name.
        repo: of the study.
        wanted: output to the job that made it.
        present: the outputs that have an entry.
        actions: those of the study as it is now.
        current: jobs that are the latest of their actions.
    """
    entries: dict[str, Document] = {}
    findings: list[Finding] = []
    for name, job in wanted.items():
        if name in present:
            findings.append(Finding(name=name, job_id=job.job_id, verdict=Verdict.PRESENT))
            continue
        try:
            described = _describe(storage, workspace, job.record, name)
        except (beneath.UnsafeName, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            findings.append(
                Finding(
                    name=name, job_id=job.job_id, verdict=Verdict.GONE, reason=reason or str(error)
                )
            )
            continue
        if isinstance(described, str):
            findings.append(
                Finding(name=name, job_id=job.job_id, verdict=Verdict.REFUSED, reason=described)
            )
            continue
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
        findings.append(Finding(name=name, job_id=job.job_id, verdict=Verdict.ADDED))
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


def _describe(storage: Storage, workspace: str, record: JobRecord, name: str) -> Document | str:
    """What an entry says of its file, or why the file may not be shown.

    Of a moderately sensitive output that is the file at level 4, since the release tool compares
    its hash; of an excluded one the note in its place; of any other the high privacy file.
    """
    excluded = record.level4_excluded_files.get(name)
    moderate = record.outputs[name] == PrivacyLevel.MODERATELY_SENSITIVE
    area = storage.medium(workspace) if moderate else storage.high(workspace)
    with beneath.directory(area) as root:
        found = beneath.open_file(root, f"{name}.txt" if moderate and excluded else name)
    rows = columns = None
    with os.fdopen(found, "rb") as file:
        facts = os.fstat(file.fileno())
        if moderate and not excluded:
            verdict = level4.check(file, name, _content_only(facts.st_size))
            if verdict.excluded:
                return verdict.message or ""
            rows, columns = verdict.row_count, verdict.col_count
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if moderate and excluded and name.endswith(".csv"):
        rows, columns = _counts(storage.high(workspace), name)
    return {
        "size": facts.st_size,
        "timestamp": facts.st_mtime,
        "content_hash": digest,
        "excluded": excluded is not None,
        "message": excluded,
        "row_count": rows,
        "col_count": columns,
    }


def _counts(area: Path, name: str) -> tuple[int | None, int | None]:
    """Rows and columns of an excluded table, if its file is still there."""
    try:
        with beneath.directory(area) as root:
            found = beneath.open_file(root, name)
    except OSError:
        return None, None
    with os.fdopen(found, "rb") as file:
        verdict = level4.check(file, name, _content_only(os.fstat(file.fileno()).st_size))
    return verdict.row_count, verdict.col_count


def _content_only(size: int) -> Level4Limits:
    """The gate without the limits on size and rows, which came with the job and are not kept."""
    return Level4Limits(
        max_filesize=size, max_csv_rows=_EVERY_ROW, file_types=JobLimits().level4_file_types
    )
