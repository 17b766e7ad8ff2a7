"""Filing: the results of a job come into its workspace all of them, or none.

Everything is put together aside, in ``.incoming/<attempt>`` of both areas: outputs, what level 4
is to show, the manifest, the records, the log. Then, under the workspace's lock, an *intent* is
written there, which lists what gets which name. With it on the disk **filing has begun**, and
nothing turns it back: whoever comes next carries it through, this agent or the next one. Each step
only gives a name, so it needs no room, and may be repeated.

The order is part of the promise: what is shown no more goes first, then come the files, the
manifest when they are there, and last the job's record, for which its readers wait.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import structlog

from rap.egress import Fault
from rap.errors import JobFault, TransientFault
from rap.models import Model
from worker_agent.atomic_files import replace, write_file
from worker_agent.disk import disk_faults
from worker_agent.workspace import safe_paths
from worker_agent.workspace.locks import workspace_lock
from worker_agent.workspace.removing import remove_tree
from worker_agent.workspace.storage import METADATA_FILE, STAGING, Storage

log = structlog.get_logger()

INTENT = "intent.json"


class Area(StrEnum):
    """Of which area a file is, staged and in its place."""

    HIGH = "high"
    MEDIUM = "medium"


class Move(NamedTuple):
    """A staged file, and the name that it gets in the workspace."""

    area: Area
    staged: str
    name: str


class Intent(Model):
    """All that filing the results of an attempt will change."""

    workspace: str
    hidden: tuple[str, ...] = ()
    """The names that go from level 4; none that one of the moves brings there."""
    files: tuple[Move, ...] = ()
    papers: tuple[Move, ...] = ()
    """What tells of the files, and comes after them: manifest, record of provenance, log."""
    record: str
    """Where ``metadata.json``, staged in the high area, belongs beneath the folder of logs."""


def has_begun(storage: Storage, name: str) -> bool:
    """Whether filing the results of the attempt of this name has begun, and is not over.

    It cannot be stopped any more. When it is over, the job's record tells.
    """
    return (storage.staging(name)[0] / INTENT).exists()


def begin(storage: Storage, name: str, intent: Intent) -> None:
    """Write the intent, durably, and carry it out; call it under the workspace's lock, after
    :func:`finish_begun`. What the intent moves is staged, and forced to the disk.

    Raises:
        TransientFault: DISK_FULL; or UNEXPECTED, something is in the way. If the filing had begun
            by then, :func:`finish_begun` goes on with it.
    """
    write_file(storage.staging(name)[0] / INTENT, intent.model_dump_json().encode())
    log.info("Filing of the outputs has begun")
    _carry_out(storage, name, intent)


def finish_begun(storage: Storage, workspace: str) -> None:
    """Carry through what an agent that was killed has left half filed in a workspace.

    Call it under the workspace's lock, before anything is judged or filed there. Errors as of
    :func:`begin`.
    """
    for name, intent in _begun(storage):
        if intent.workspace == workspace:
            log.warning("finishing the filing of a job that was broken off", of=name)
            _carry_out(storage, name, intent)


def finish_all_begun(storage: Storage) -> None:
    """The same for all workspaces; what cannot be finished is said in the log."""
    try:
        for workspace in {intent.workspace for _, intent in _begun(storage)}:
            with workspace_lock(storage, workspace):
                finish_begun(storage, workspace)
    except JobFault as fault:
        log.error(f"a filing that was broken off is left for later: {fault}")  # noqa: TRY400


def is_begun_in(storage: Storage, workspace: str) -> bool:
    """Whether there is anything to finish in a workspace, by whomever."""
    return any(intent.workspace == workspace for _, intent in _begun(storage))


def discard_staged(storage: Storage, name: str) -> None:
    """Remove what an earlier, interrupted publishing of an attempt left behind.

    Not if filing has begun: then it has to be finished.
    """
    if has_begun(storage, name):
        log.warning("staged files are kept: their filing has begun", of=name)
        return
    for folder in storage.staging(name):
        left = remove_tree(folder)
        if left:
            log.error("could not remove staged files", path=str(folder), files=len(left))


def _begun(storage: Storage) -> Iterator[tuple[str, Intent]]:
    try:
        folders = sorted((storage.high_workspaces / STAGING).iterdir())
    except FileNotFoundError:
        return
    for folder in folders:
        path = folder / INTENT
        try:
            yield folder.name, Intent.model_validate_json(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except ValueError as error:
            raise TransientFault(Fault.UNEXPECTED, f"{path} cannot be read: {error}") from error


def _carry_out(storage: Storage, name: str, intent: Intent) -> None:
    """Do what has not been done yet, and forget the intent."""
    staging = storage.staging(name)
    try:
        with disk_faults(), ExitStack() as opened:
            staged = {
                area: opened.enter_context(safe_paths.directory(folder, create=True))
                for area, folder in zip(Area, staging, strict=True)
            }
            # The record moves last: without it here all has been done.
            if (staging[0] / METADATA_FILE).exists():
                roots = {
                    Area.HIGH: storage.high(intent.workspace),
                    Area.MEDIUM: storage.medium(intent.workspace),
                }
                places = {
                    area: opened.enter_context(safe_paths.directory(root, create=True))
                    for area, root in roots.items()
                }
                _move_in(staged, places, intent, roots[Area.MEDIUM])
                _file_record(staging[0], staged[Area.HIGH], storage.logs / intent.record)
            os.unlink(INTENT, dir_fd=staged[Area.HIGH])
    except OSError as error:
        raise TransientFault(
            Fault.UNEXPECTED, f"the filing described in {staging[0] / INTENT} is held up: {error}"
        ) from error
    discard_staged(storage, name)


def _move_in(
    staged: dict[Area, int], places: dict[Area, int], intent: Intent, level4: Path
) -> None:
    for name in intent.hidden:
        try:
            _delete(places[Area.MEDIUM], name)
        except OSError as error:
            log.warning(f"Could not delete {level4 / name}", reason=error.strerror)
    for moves in (intent.files, intent.papers):
        for move in moves:
            if move.area is Area.HIGH and moves is intent.files:
                log.info(f"Extracting output file: {move.name}")
            _place(staged[move.area], move.staged, places[move.area], move.name)
        folders = {PurePosixPath(move.name).parent.parts for move in moves}
        for root in places.values():
            _force_to_disk(root, folders)


def _place(staging: int, staged: str, root: int, name: str) -> None:
    with safe_paths.parent_of(root, name, create=True) as (folder, last):  # noqa: SIM117
        # If it is not there it was moved before.
        with suppress(FileNotFoundError):
            replace(staging, staged, folder, last)


def _delete(root: int, name: str) -> None:
    with (
        suppress(FileNotFoundError, NotADirectoryError),
        safe_paths.parent_of(root, name) as (folder, last),
    ):
        os.unlink(last, dir_fd=folder)


def _file_record(folder: Path, staging: int, target: Path) -> None:
    with safe_paths.directory(target.parent, create=True) as logs:
        try:
            replace(staging, METADATA_FILE, logs, target.name)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # The logs are on another disk.
            write_file(target, (folder / METADATA_FILE).read_bytes())
            os.unlink(METADATA_FILE, dir_fd=staging)
        os.fsync(logs)


def _force_to_disk(root: int, folders: Iterable[tuple[str, ...]]) -> None:
    for parts in folders:
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            safe_paths.open_directory(root, parts) as folder,
        ):
            os.fsync(folder)
