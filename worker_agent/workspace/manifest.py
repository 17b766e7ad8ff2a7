"""The manifest of a workspace: what output checkers are shown (docs/spec/agent.md 10.4).

One file per workspace in the medium privacy area, read at any moment by the release tool and by
nobody of ours but this module. Jobs of one workspace finish at the same time, so a change of it is
made under a lock, from reading to replacing; the lock lies outside the workspace, because all that
is beneath ``metadata/`` is shown. The hash of the file's bytes is a cache key of its reader: it is
rewritten only when something changed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rap.egress import Fault
from rap.errors import TransientFault
from rap.models import JobDefinition, Model, PrivacyLevel
from worker_agent.atomic_files import write_file
from worker_agent.workspace.storage import Storage

Document = dict[str, Any]


class PublishedOutput(Model):
    """One output of a job, as it was published; its fields are keys of the manifest."""

    level: PrivacyLevel
    size: int
    timestamp: float
    """Modification time of the high privacy copy, seconds."""
    content_hash: str
    """SHA-256, hexadecimal."""
    excluded: bool = False
    message: str | None = None
    row_count: int | None = None
    col_count: int | None = None


def path_of(storage: Storage, workspace: str) -> Path:
    """Where the manifest of a workspace is."""
    return storage.medium(workspace) / "metadata" / "manifest.json"


def read(storage: Storage, workspace: str) -> Document:
    """The manifest as it stands, or an empty one; UNEXPECTED if the file is damaged.

    That may pass: an operator mends it, and nothing is lost.
    """
    path = path_of(storage, workspace)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {"workspace": workspace, "repo": None, "outputs": {}}
    try:
        document = json.loads(content)
    except ValueError as error:
        raise TransientFault(Fault.UNEXPECTED, f"{path} is not valid JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.setdefault("outputs", {}), dict):
        raise TransientFault(Fault.UNEXPECTED, f"{path} is not a manifest")
    return document


def updated(
    document: Document,
    definition: JobDefinition,
    outputs: Mapping[str, PublishedOutput],
    project_actions: frozenset[str] | None,
) -> Document:
    """The manifest after a job's outputs have been published; pure (docs/spec/agent.md 9.8).

    Outputs of every level get entries, new ones in their order. Without the actions of the study's
    project file, what is said about obsolete actions stays as it is.
    """
    entries: dict[str, Document] = {}
    for name, before in document["outputs"].items():
        entry = dict(before)
        if project_actions is not None:
            entry["out_of_date_action"] = entry.get("action") not in project_actions
        if entry.get("action") == definition.action and name not in outputs:
            entry["out_of_date_output"] = True
        entries[name] = entry
    for name, output in outputs.items():
        entries[name] = _entry(definition, output)
    return {**document, "outputs": entries}


def write(storage: Storage, workspace: str, document: Document, *, by: str) -> None:
    """Replace the manifest, if its bytes differ, durably; or DISK_FULL. Call it under the lock.

    ``by`` names the folder for the unfinished file: a job, or whoever else writes.
    """
    path = path_of(storage, workspace)
    content = json.dumps(document, indent=2).encode()
    try:
        if path.read_bytes() == content:
            return
    except FileNotFoundError:
        pass
    _, staging = storage.staging(by)
    write_file(path, content, staging=staging)


def _entry(definition: JobDefinition, output: PublishedOutput) -> Document:
    return {
        "level": output.level.value,
        "job_id": definition.id,
        "job_request": definition.rap_id,
        "action": definition.action,
        "user": definition.user,
        "repo": definition.study.git_repo_url,
        "commit": definition.study.commit,
        **output.model_dump(exclude={"level"}),
    }
