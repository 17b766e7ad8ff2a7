"""Filing a job's outputs: into the high privacy workspace, and past the gate into level 4.

Everything slow happens aside: each output is copied from the volume to a staging folder, checked
there, and, if it passes, copied once more for level 4, so that what was checked, what is shown and
what was hashed are the same bytes. Then, under the lock of the workspace, all of it is moved into
place and the manifest replaced: the release tool never finds a manifest entry whose file is not
there yet (agent.md 9.5 to 9.8).
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import structlog

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import JobDefinition, PrivacyLevel
from worker_agent.workspace import beneath, level4, manifest
from worker_agent.workspace.copying import (
    Copied,
    check_space,
    copy_open_file,
    disk_faults,
    force_to_disk,
    replace,
    write_new,
)
from worker_agent.workspace.level4 import Level4Limits, Level4Verdict
from worker_agent.workspace.manifest import FiledOutput
from worker_agent.workspace.outputs import Matched
from worker_agent.workspace.removing import remove_tree
from worker_agent.workspace.storage import Storage

log = structlog.get_logger()

_FEW = 32
"""Outputs that are forced to the disk one by one."""


class _Staged(NamedTuple):
    name: str
    """In the workspace."""
    number: str
    """In the staging folders: of the file, and of what level 4 is to show."""
    output: FiledOutput


def file_outputs(
    definition: JobDefinition,
    storage: Storage,
    volume: int,
    matched: Matched,
    project_actions: frozenset[str] | None,
) -> dict[str, str]:
    """File all outputs of a finished job; may be repeated from the start after a crash.

    Args:
        definition: the job.
        storage: where to.
        volume: open directory of the volume; nothing runs in it any more.
        matched: its outputs.
        project_actions: as for :func:`manifest.updated`.

    Returns:
        The moderately sensitive outputs that may not be shown, and why, in short.

    Raises:
        PermanentFault: OUTPUTS_REFUSED, they cannot be kept safely; the manifest is as before.
        TransientFault: DISK_FULL; or UNEXPECTED, the manifest is damaged.
    """
    try:
        return _stage_and_publish(definition, storage, volume, matched, project_actions)
    finally:
        # Also after a failure: what waits for space must not take it from others.
        discard_staged(storage, definition.id)


def _stage_and_publish(
    definition: JobDefinition,
    storage: Storage,
    volume: int,
    matched: Matched,
    project_actions: frozenset[str] | None,
) -> dict[str, str]:
    discard_staged(storage, definition.id)  # an earlier agent may have been killed in here
    high_staging, medium_staging = storage.staging(definition.id)
    limits = Level4Limits.of(definition)
    with (
        disk_faults(),
        beneath.directory(high_staging, create=True) as high,
        beneath.directory(medium_staging, create=True) as medium,
    ):
        _check_sizes(high, matched.sizes)
        few = len(matched.outputs) <= _FEW
        staged = [
            _stage(volume, high, medium, f"{number:06d}", name, level, limits, durable=few)
            for number, (name, level) in enumerate(matched.outputs.items())
        ]
        if not few:
            force_to_disk(high)
            force_to_disk(medium)
        with manifest.locked(storage, definition.workspace):
            before = manifest.read(storage, definition.workspace)
            after = manifest.updated(
                before, definition, {file.name: file.output for file in staged}, project_actions
            )
            _publish(definition, storage, (high, medium), staged, _shown_at_level4(after))
            manifest.write(storage, definition, after)
    return {file.name: file.output.message for file in staged if file.output.message}


def discard_staged(storage: Storage, job_id: str) -> None:
    """Remove what an earlier, interrupted filing of a job left behind."""
    for folder in storage.staging(job_id):
        left = remove_tree(folder)
        if left:
            log.error("could not remove staged files", path=str(folder), files=len(left))


def _check_sizes(high: int, sizes: Mapping[str, int]) -> None:
    """Refuse what no disk could hold, such as a sparse giant, before copying any of it."""
    needed = sum(sizes.values())
    disk = os.fstatvfs(high)
    if needed > disk.f_blocks * disk.f_frsize:
        raise PermanentFault(
            Fault.OUTPUTS_REFUSED, f"The outputs are larger than the whole disk: {needed} bytes"
        )
    check_space(high, needed)


def _stage(
    volume: int,
    high: int,
    medium: int,
    number: str,
    name: str,
    level: PrivacyLevel,
    limits: Level4Limits,
    *,
    durable: bool,
) -> _Staged:
    with _opened(volume, name) as source:
        copied = copy_open_file(source, high, number, called=name, durable=durable)
    verdict = Level4Verdict()
    if level is PrivacyLevel.MODERATELY_SENSITIVE:
        verdict = _pass_gate(high, medium, number, name, copied, limits, durable=durable)
    output = FiledOutput(
        level=level,
        size=copied.size,
        timestamp=os.stat(number, dir_fd=high).st_mtime,
        sha256=copied.sha256,
        excluded=verdict.excluded,
        message=verdict.message,
        row_count=verdict.row_count,
        col_count=verdict.col_count,
    )
    return _Staged(name, number, output)


@contextmanager
def _opened(volume: int, name: str) -> Iterator[int]:
    try:
        source = beneath.open_file(volume, name)
    except (beneath.NotARegularFile, FileNotFoundError, NotADirectoryError) as error:
        raise PermanentFault(
            Fault.OUTPUTS_REFUSED, f"{name} is not an ordinary file any more"
        ) from error
    except PermissionError as error:
        raise PermanentFault(Fault.OUTPUTS_REFUSED, f"{name} cannot be read") from error
    try:
        if os.fstat(source).st_nlink > 1:
            raise PermanentFault(Fault.OUTPUTS_REFUSED, f"{name} is a hard link")
        yield source
    finally:
        os.close(source)


def _pass_gate(
    high: int,
    medium: int,
    number: str,
    name: str,
    copied: Copied,
    limits: Level4Limits,
    *,
    durable: bool,
) -> Level4Verdict:
    """Check our own copy, and stage for level 4 either its bytes or a note in their place."""
    descriptor = os.open(number, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=high)
    with os.fdopen(descriptor, "rb") as file:
        verdict = level4.check(file, name, limits)
        if not verdict.excluded:
            check_space(medium, copied.size)
            shown = copy_open_file(file.fileno(), medium, number, called=name, durable=durable)
            if shown != copied:
                raise PermanentFault(Fault.OUTPUTS_REFUSED, f"{name} was changed after its check")
        else:
            write_new(medium, _note(number), verdict.note.encode(), durable=durable)
    return verdict


def _publish(
    definition: JobDefinition,
    storage: Storage,
    staging: tuple[int, int],
    staged: Iterable[_Staged],
    shown: frozenset[str],
) -> None:
    """Move everything into the workspaces; the manifest comes after."""
    high_staging, medium_staging = staging
    staged = tuple(staged)
    with (
        beneath.directory(storage.high(definition.workspace), create=True) as high,
        beneath.directory(storage.medium(definition.workspace), create=True) as medium,
    ):
        places = [
            *((high, file.name) for file in staged),
            *((medium, file.name) for file in staged if file.name in shown),
            *((medium, _note(file.name)) for file in staged if file.output.excluded),
        ]
        # All folders are made before any place is looked at: one may be in the way of another file.
        for root, name in places:
            _make_folders(root, name)
        for root, name in places:
            _check_place(root, name)
        # Deleting comes first: a note may have the name of a file that is not shown any more.
        for file in staged:
            if file.name not in shown:
                _delete(medium, file.name, storage.medium(definition.workspace))
            if not file.output.excluded and _note(file.name) not in shown:
                _delete(medium, _note(file.name), storage.medium(definition.workspace))
        for file in staged:
            log.info(f"Extracting output file: {file.name}")
            _place(high_staging, file.number, high, file.name)
            if file.name in shown:
                _place(medium_staging, file.number, medium, file.name)
            # A real output may have the name that the note would have: it stays, and what the note
            # says is in the job's log.
            elif file.output.excluded and _note(file.name) not in shown:
                _place(medium_staging, _note(file.number), medium, _note(file.name))
        folders = {PurePosixPath(file.name).parent.parts for file in staged}
        for root in (high, medium):
            _force_to_disk(root, folders)


def _shown_at_level4(document: manifest.Document) -> frozenset[str]:
    """The files that the release tool shows by their own name."""
    return frozenset(
        name
        for name, entry in document["outputs"].items()
        if entry.get("level") == PrivacyLevel.MODERATELY_SENSITIVE and not entry.get("excluded")
    )


def _note(name: str) -> str:
    return f"{name}.txt"


def _make_folders(root: int, name: str) -> None:
    try:
        with beneath.parent_of(root, name, create=True):
            pass
    except NotADirectoryError:
        raise _in_the_way(name) from None


def _check_place(root: int, name: str) -> None:
    """Be sure that a file can be moved to its place."""
    with beneath.parent_of(root, name) as (folder, last), suppress(FileNotFoundError):
        if stat.S_ISDIR(os.stat(last, dir_fd=folder, follow_symlinks=False).st_mode):
            raise _in_the_way(name)


def _in_the_way(name: str) -> PermanentFault:
    return PermanentFault(
        Fault.OUTPUTS_REFUSED,
        f"{name} cannot be filed: in the workspace, a file stands where it needs a directory, "
        "or a directory where it needs a file",
    )


def _place(staging: int, staged: str, root: int, name: str) -> None:
    with beneath.parent_of(root, name, create=True) as (folder, last):
        replace(staging, staged, folder, last)


def _delete(root: int, name: str, workspace: Path) -> None:
    try:
        with beneath.parent_of(root, name) as (folder, last):
            os.unlink(last, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        log.warning(f"Could not delete {workspace / name}", reason=error.strerror)


def _force_to_disk(root: int, folders: Iterable[tuple[str, ...]]) -> None:
    for parts in folders:
        with suppress(FileNotFoundError, NotADirectoryError):
            folder = beneath.open_directory(root, parts)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
