"""Publishing a job's outputs: into the high privacy workspace, and past the gate into level 4.

Everything slow happens aside: outputs are staged, with what level 4 is to show of them, and the
job's log. Then, under the lock of the workspace, it is decided what becomes of the names that are
there, and all of it is filed together with the manifest and the records: the release tool never
finds a manifest entry whose file is not there yet (docs/spec/agent.md 9.5 to 9.8).
"""

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

import structlog

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import JobDefinition, PrivacyLevel
from worker_agent.atomic_files import write_new
from worker_agent.disk import disk_faults
from worker_agent.workspace import (
    filing,
    job_log,
    locks,
    manifest,
    metadata,
    provenance,
    safe_paths,
)
from worker_agent.workspace.copying import Interrupted, Unwanted, force_to_disk
from worker_agent.workspace.filing import Area, Intent, Move
from worker_agent.workspace.found_outputs import Found
from worker_agent.workspace.level4 import Level4Limits
from worker_agent.workspace.limits import Limits
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.outputs import Matched
from worker_agent.workspace.provenance import ProvenanceRecord
from worker_agent.workspace.staging import Staged, Staging, check_sizes, message_file
from worker_agent.workspace.storage import METADATA_FILE, Storage

log = structlog.get_logger()

_MANIFEST = "manifest.json"
_PROVENANCE = "provenance.json"


class Telling(NamedTuple):
    """How the records of a job are made from its staged outputs."""

    record: Callable[[Sequence[Staged]], JobRecord]
    """May be slow: it writes the log too."""
    provenance: Callable[[Sequence[Staged], JobRecord, int], ProvenanceRecord]
    """The last is when they are filed, nanoseconds since the epoch."""


def publish_outputs(
    definition: JobDefinition,
    storage: Storage,
    volume: int,
    matched: Matched,
    found: dict[str, Found],
    telling: Telling,
    project_actions: frozenset[str] | None,
    limits: Limits,
    stopped: Unwanted,
) -> JobRecord:
    """Publish all outputs of a finished job, and record it; may be repeated after a crash.

    Nothing runs in the open volume any more. ``found`` are the outputs that the job did not make.
    An order to stop counts until the filing begins: it is asked for while everything is copied, and
    once more under the lock of the workspace.

    Raises:
        Interrupted: the attempt is ``stopped``, and nothing has changed.
        PermanentFault: OUTPUTS_REFUSED, they cannot be kept safely; nothing has changed.
        TransientFault: DISK_FULL; or UNEXPECTED, the manifest is damaged, or the filing of another
            job is held up. Nothing has changed, or :func:`filing.has_begun`.
    """
    name = definition.attempt_name
    filing.discard_staged(storage, name)  # an earlier agent may have been killed in here
    high_staging, medium_staging = storage.staging(name)
    few = len(matched.outputs) <= limits.forced_singly
    begun = False
    try:
        with (
            disk_faults(),
            safe_paths.directory(high_staging, create=True) as high,
            safe_paths.directory(medium_staging, create=True) as medium,
        ):
            check_sizes(high, matched.sizes)
            log.info("Putting the outputs together")
            gate = Level4Limits.of(definition)
            staging = Staging(volume, high, medium, gate, durable=few, stopped=stopped)
            staged = [
                staging.add(f"{number:06d}", file, level, found.get(file))
                for number, (file, level) in enumerate(matched.outputs.items())
            ]
            record = telling.record(staged)
            logs = job_log.stage(storage, definition)
            if not few:
                force_to_disk(high)
                force_to_disk(medium)
            with locks.workspace_lock(storage, definition.workspace) as turn:
                filing.finish_begun(storage, definition.workspace)
                before = manifest.read(storage, definition.workspace)
                outputs = {file.name: file.output for file in staged}
                after = manifest.updated(before, definition, outputs, project_actions)
                papers = [*logs]
                if (content := manifest.encoded(after)) != manifest.stored(
                    storage, definition.workspace
                ):
                    write_new(medium, _MANIFEST, content)
                    papers.append(Move(Area.MEDIUM, _MANIFEST, "metadata/manifest.json"))
                explained = telling.provenance(staged, record, turn.moment())
                write_new(high, _PROVENANCE, provenance.encoded(explained))
                papers.append(Move(Area.HIGH, _PROVENANCE, provenance.name_of(definition.id)))
                write_new(high, METADATA_FILE, metadata.encoded(record))
                os.fsync(medium)
                if stopped.is_set():
                    raise Interrupted
                intent = _intent(definition, staged, papers, _shown_at_level4(after), storage)
                _make_places(storage, intent)
                begun = True
                filing.begin(storage, name, intent)
    finally:
        # Also after a failure: what waits for space must not take it from others.
        if not begun or not filing.has_begun(storage, name):
            filing.discard_staged(storage, name)
    return record


def _intent(
    definition: JobDefinition,
    staged: Sequence[Staged],
    papers: Iterable[Move],
    shown: frozenset[str],
    storage: Storage,
) -> Intent:
    """What becomes of every name; ``shown`` are those that level 4 shows afterwards."""
    files = [Move(Area.HIGH, file.number, file.name) for file in staged]
    hidden: list[str] = []
    for file in staged:
        message = message_file(file.name)
        if file.name in shown:
            files.append(Move(Area.MEDIUM, file.number, file.name))
        else:
            hidden.append(file.name)
        # A real output may have the name that the message file would have: it stays, and the
        # message is in the job's log.
        if message in shown:
            continue
        if file.output.excluded:
            files.append(Move(Area.MEDIUM, message_file(file.number), message))
        else:
            hidden.append(message)
    # A message file may have the name of a file no longer shown.
    come = {move.name for move in files if move.area is Area.MEDIUM}
    return Intent(
        workspace=definition.workspace,
        hidden=tuple(name for name in hidden if name not in come),
        files=tuple(files),
        papers=tuple(papers),
        record=str((storage.log_dir(definition) / METADATA_FILE).relative_to(storage.logs)),
    )


def _make_places(storage: Storage, intent: Intent) -> None:
    """Be sure that everything can be moved to its place."""
    with (
        safe_paths.directory(storage.high(intent.workspace), create=True) as high,
        safe_paths.directory(storage.medium(intent.workspace), create=True) as medium,
    ):
        moves = (*intent.files, *intent.papers)
        places = [(high if move.area is Area.HIGH else medium, move.name) for move in moves]
        # All folders are made before any place is looked at: one may be in the way of another file.
        for root, name in places:
            _make_folders(root, name)
        for root, name in places:
            _check_place(root, name)


def _shown_at_level4(document: manifest.Document) -> frozenset[str]:
    """The files that the release tool shows by their own name."""
    return frozenset(
        name
        for name, entry in document["outputs"].items()
        if entry.get("level") == PrivacyLevel.MODERATELY_SENSITIVE and not entry.get("excluded")
    )


def _make_folders(root: int, name: str) -> None:
    try:
        with safe_paths.parent_of(root, name, create=True):
            pass
    except NotADirectoryError:
        raise _in_the_way(name) from None


def _check_place(root: int, name: str) -> None:
    """Be sure that a file can be moved to its place."""
    with safe_paths.parent_of(root, name) as (folder, last), suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _in_the_way(name)


def _in_the_way(name: str) -> PermanentFault:
    return PermanentFault(
        Fault.OUTPUTS_REFUSED,
        f"{name} cannot be filed: in the workspace, a file stands where it needs a directory, "
        "or a directory where it needs a file",
    )
