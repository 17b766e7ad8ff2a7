"""Where a file of this host came from, read from the records beside a running agent.

Nothing is changed. What one record lacks is said for that file; the rest is answered.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from rap.errors import JobFault, RapError
from rap.models import Model, PrivacyLevel
from worker_agent.operations.lineage import (
    Filed,
    FileNode,
    JobFacts,
    JobNode,
    Lineage,
    is_doubtful,
    of_record,
)
from worker_agent.operations.place import Place
from worker_agent.workspace import filing, manifest, manifest_repair, provenance, safe_paths
from worker_agent.workspace.manifest import Document
from worker_agent.workspace.manifest_repair import Recorded
from worker_agent.workspace.storage import METADATA_FILE, Storage

PATIENCE_S = 5.0
"""How long an answer waits for results that are being filed; that takes far less."""
LOOK_EVERY_S = 0.1
"""Between looks whether they are."""
BEING_FILED = (
    "The results of a job are half filed in this workspace: ask again once an agent has run."
)
_CUT_OFF = 5
"""Jobs that are named where an id may mean several."""


class Target(NamedTuple):
    """What was asked about: a file of a workspace, or one of its jobs."""

    workspace: str
    name: str | None = None
    job_id: str | None = None


class Provenance(Model):
    """The answer: the tree of a file or of a job."""

    workspace: str
    about: FileNode | JobNode
    notes: tuple[str, ...] = ()
    """What could not be read."""


def target_of(place: Place, text: str, *, workspace: str | None = None) -> Target:
    """What a person means: a path of either privacy side, ``WORKSPACE/name``, or a job.

    With ``workspace`` it is a name in that one. RapError if there is no such workspace or job.
    """
    storage = place.storage
    path = Path(text)
    if workspace is not None and not path.is_absolute():
        return Target(existing(storage, workspace), name=_name(text))
    if path.is_absolute():
        for area in (storage.high_workspaces, storage.medium_workspaces):
            for base, given in ((area, path), (area.resolve(), path.parent.resolve() / path.name)):
                if given.is_relative_to(base) and len(given.relative_to(base).parts) > 1:
                    first, *inner = given.relative_to(base).parts
                    return Target(existing(storage, first), name=_name("/".join(inner)))
        raise RapError(
            f"{text} is no file of a workspace of this host: those lie in {storage.high_workspaces}"
            f" and {storage.medium_workspaces}."
        )
    if "/" in text:
        first, _, rest = text.partition("/")
        return Target(existing(storage, first), name=_name(rest))
    return _job(storage, text)


def trace(place: Place, target: Target) -> Provenance:
    """The tree of a file or job; RapError if a file is neither there nor on record."""
    now = cache(Hasher(place.storage, target.workspace))
    answer = _traced(place.storage, target, now)
    if not is_doubtful(answer.about):
        return answer
    # A job may be filing its results: its record comes after its files.
    is_over = filing_is_over(place.storage, target.workspace)
    answer = _traced(place.storage, target, now)
    if is_over:
        return answer
    return answer.model_copy(update={"notes": (*answer.notes, BEING_FILED)})


def filing_is_over(storage: Storage, workspace: str, *, within_s: float = PATIENCE_S) -> bool:
    """Wait until no job's results are half filed in a workspace; false if that takes longer.

    As long as no agent runs, nobody ends what a killed one has begun.
    """
    end = monotonic() + within_s
    while filing.is_begun_in(storage, workspace):
        if monotonic() > end:
            return False
        sleep(LOOK_EVERY_S)
    return True


def _traced(storage: Storage, target: Target, now: Callable[[str], str | None]) -> Provenance:
    jobs, notes = jobs_of(storage, target.workspace)
    lineage = Lineage(jobs, now)
    about = lineage.of_job(target.job_id) if target.job_id else lineage.of_file(target.name or "")
    if about is None:
        raise RapError(
            f"There is no file {target.name} in workspace {target.workspace}, and no job is on "
            "record that filed one."
        )
    return Provenance(workspace=target.workspace, about=about, notes=notes)


def existing(storage: Storage, workspace: str) -> str:
    """A workspace of this host; RapError if it is not there."""
    try:
        if storage.high(workspace).is_dir():
            return workspace
    except JobFault:
        pass  # nor can it be the name of one
    raise RapError(f"There is no workspace {workspace} on this host.")


def jobs_of(storage: Storage, workspace: str) -> tuple[list[JobFacts], tuple[str, ...]]:
    """All jobs on record that filed outputs in a workspace, and what could not be read."""
    recorded = [of_record(record) for record in provenance.records_of(storage, workspace)]
    known = {job.job_id for job in recorded}
    notes = [
        f"The record {path} is damaged."
        for path in sorted(provenance.folder_of(storage, workspace).glob("*.json"))
        if path.stem not in known
    ]
    try:
        entries = manifest.read(storage, workspace)["outputs"]
    except JobFault as fault:
        entries = {}
        notes.append(f"The manifest cannot be read: {fault}.")
    earlier = [
        _of_earlier(job, entries)
        for job in manifest_repair.records_of(storage, workspace)
        if job.job_id not in known
    ]
    return [*recorded, *earlier], tuple(notes)


class Hasher:
    """Tells the hash of a file in a workspace as it is now; ``None`` if there is none."""

    def __init__(self, storage: Storage, workspace: str) -> None:
        self._root = storage.high(workspace)

    def __call__(self, name: str) -> str | None:
        """Reads all of it."""
        try:
            with safe_paths.directory(self._root) as root:
                descriptor = safe_paths.open_file(root, name)
            with os.fdopen(descriptor, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except (OSError, safe_paths.UnsafeName):
            return None


def _of_earlier(job: Recorded, entries: Document) -> JobFacts:
    """A job that ended before there were records of provenance."""
    return JobFacts(
        job_id=job.job_id,
        action=job.action,
        filed_at_ns=job.record.timestamp_ns or 0,
        outputs={
            name: _filed_earlier(job, entries.get(name), level)
            for name, level in job.record.outputs.items()
        },
    )


def _filed_earlier(job: Recorded, entry: object, level: str) -> Filed:
    known = PrivacyLevel(level) if level in set(PrivacyLevel) else None
    if not isinstance(entry, dict) or entry.get("job_id") != job.job_id:
        return Filed(None, level=known)
    if entry.get("excluded"):
        # The hash would be that of the message in its place.
        return Filed(None, level=known, excluded=True, reason=str(entry.get("message") or ""))
    sha256, size = entry.get("content_hash"), entry.get("size")
    return Filed(
        sha256 if isinstance(sha256, str) else None,
        size if isinstance(size, int) else None,
        known,
    )


def _job(storage: Storage, part: str) -> Target:
    found = dict(_jobs_matching(storage, part))
    if part in found:
        return Target(found[part], job_id=part)
    if not found:
        raise RapError(
            f"No job is on record here whose id begins with '{part}'. A file is named "
            "WORKSPACE/path, or with --workspace."
        )
    if len(found) > 1:
        listed = ", ".join(sorted(found)[:_CUT_OFF])
        more = " and more" if len(found) > _CUT_OFF else ""
        raise RapError(f"'{part}' is the beginning of several jobs: {listed}{more}.")
    ((job_id, workspace),) = found.items()
    return Target(workspace, job_id=job_id)


def _jobs_matching(storage: Storage, part: str) -> Iterator[tuple[str, str]]:
    """Jobs whose id begins so, with their workspace."""
    if not part.isalnum():
        return
    for path in storage.high_workspaces.glob(f"*/metadata/{provenance.FOLDER}/{part}*.json"):
        yield path.stem, path.parents[2].name
    for job_id, path in storage.newest_of_jobs(METADATA_FILE).items():
        if job_id.startswith(part) and (job := manifest_repair.recorded(path)) is not None:
            yield job_id, job.workspace


def _name(text: str) -> str:
    name = os.path.normpath(text)
    try:
        safe_paths.parts_of(name)
    except safe_paths.UnsafeName as error:
        raise RapError(f"'{text}' {error}, so it is no file of a workspace.") from None
    return name
