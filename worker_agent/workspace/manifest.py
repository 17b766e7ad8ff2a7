"""The manifest of a workspace: what output checkers are shown (agent.md 10.4).

One file per workspace in the medium privacy area, read at any moment by the release tool and by
nobody of ours but this module. Jobs of one workspace finish at the same time, so a change of it is
made under a lock, from reading to replacing; the lock lies outside the workspace, because all that
is beneath ``metadata/`` is shown. The hash of the file's bytes is a cache key of its reader: it is
rewritten only when something changed.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rap.egress import Fault
from rap.errors import TransientFault
from rap.models import JobDefinition, Model, PrivacyLevel
from worker_agent.workspace.copying import write_file
from worker_agent.workspace.storage import Storage
from worker_agent.workspace.turns import turn

Document = dict[str, Any]


class FiledOutput(Model):
    """One output of a job, as it was filed."""

    level: PrivacyLevel
    size: int
    timestamp: float
    """Modification time of the high privacy copy, seconds."""
    sha256: str
    excluded: bool = False
    message: str | None = None
    row_count: int | None = None
    col_count: int | None = None


@contextmanager
def locked(storage: Storage, workspace: str) -> Iterator[None]:
    """Hold the only right to change a workspace's files and manifest, in any process of the host.

    Blocks the thread; never held while anything is copied.
    """
    digest = hashlib.sha256(os.fsencode(storage.medium(workspace))).hexdigest()[:32]
    folder = storage.state_dir / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    with turn(f"workspace {digest}"), (folder / f"workspace-{digest}.lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file is closed
        yield


def path_of(storage: Storage, workspace: str) -> Path:
    """Where the manifest of a workspace is."""
    return storage.medium(workspace) / "metadata" / "manifest.json"


def read(storage: Storage, workspace: str) -> Document:
    """The manifest as it stands, or an empty one.

    Raises:
        TransientFault: UNEXPECTED, the file is damaged; an operator mends it, nothing is lost.
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
    outputs: Mapping[str, FiledOutput],
    project_actions: frozenset[str] | None,
) -> Document:
    """The manifest after a job has been filed; pure (agent.md 9.8).

    Args:
        document: the manifest before; left unchanged.
        definition: the job.
        outputs: everything it produced, of every level, in the order in which new entries appear.
        project_actions: the actions of the study's project file; ``None``: unknown, so what is
            said about obsolete actions stays as it is.
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


def write(storage: Storage, definition: JobDefinition, document: Document) -> None:
    """Replace the manifest, if its bytes differ; atomic and durable. Call it under the lock.

    Raises:
        TransientFault: DISK_FULL.
    """
    replace(storage, definition.workspace, document, by=definition.id)


def replace(storage: Storage, workspace: str, document: Document, *, by: str) -> None:
    """The same for whoever is not a job; ``by`` names the folder for the unfinished file."""
    path = path_of(storage, workspace)
    content = json.dumps(document, indent=2).encode()
    try:
        if path.read_bytes() == content:
            return
    except FileNotFoundError:
        pass
    _, staging = storage.staging(by)
    write_file(path, content, staging=staging)


def _entry(definition: JobDefinition, output: FiledOutput) -> Document:
    return {
        "level": output.level.value,
        "job_id": definition.id,
        "job_request": definition.rap_id,
        "action": definition.action,
        "user": definition.user,
        "repo": definition.study.git_repo_url,
        "commit": definition.study.commit,
        "size": output.size,
        "timestamp": output.timestamp,
        "content_hash": output.sha256,
        "excluded": output.excluded,
        "message": output.message,
        "row_count": output.row_count,
        "col_count": output.col_count,
    }
