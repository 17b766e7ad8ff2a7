"""Publishing a job's outputs: into the high privacy workspace, and past the gate into level 4.

Everything slow happens aside: each output is copied from the volume to a staging folder, checked
there, and, if it passes, copied once more for level 4, so that what was checked, what is shown and
what was hashed are the same bytes. Then, under the lock of the workspace, all of it is moved into
place and the manifest replaced: the release tool never finds a manifest entry whose file is not
there yet (docs/spec/agent.md 9.5 to 9.8).
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import PurePosixPath
from typing import NamedTuple

import structlog

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import JobDefinition, PrivacyLevel
from worker_agent.atomic_files import replace, write_new
from worker_agent.disk import disk_faults, require_space
from worker_agent.workspace import level4, locks, manifest, safe_paths
from worker_agent.workspace.copying import Copied, copy_open_file, force_to_disk
from worker_agent.workspace.level4 import Level4Limits, Level4Verdict
from worker_agent.workspace.limits import Limits
from worker_agent.workspace.manifest import PublishedOutput
from worker_agent.workspace.outputs import Matched
from worker_agent.workspace.removing import remove_tree
from worker_agent.workspace.storage import Storage

log = structlog.get_logger()


def publish_outputs(
    definition: JobDefinition,
    storage: Storage,
    volume: int,
    matched: Matched,
    project_actions: frozenset[str] | None,
    limits: Limits,
) -> dict[str, str]:
    """Publish all outputs of a finished job; may be repeated from the start after a crash.

    Nothing runs in the open volume any more. The moderately sensitive outputs that may not be shown
    are returned, and why, in short.

    Raises:
        PermanentFault: OUTPUTS_REFUSED, they cannot be kept safely; the manifest is as before.
        TransientFault: DISK_FULL; or UNEXPECTED, the manifest is damaged.
    """
    discard_staged(
        storage, definition.attempt_name
    )  # an earlier agent may have been killed in here
    high_staging, medium_staging = storage.staging(definition.attempt_name)
    few = len(matched.outputs) <= limits.forced_singly
    try:
        with (
            disk_faults(),
            safe_paths.directory(high_staging, create=True) as high,
            safe_paths.directory(medium_staging, create=True) as medium,
        ):
            _check_sizes(high, matched.sizes)
            staging = _Staging(volume, high, medium, Level4Limits.of(definition), durable=few)
            staged = [
                staging.add(f"{number:06d}", name, level)
                for number, (name, level) in enumerate(matched.outputs.items())
            ]
            if not few:
                force_to_disk(high)
                force_to_disk(medium)
            with locks.workspace_lock(storage, definition.workspace):
                before = manifest.read(storage, definition.workspace)
                outputs = {file.name: file.output for file in staged}
                after = manifest.updated(before, definition, outputs, project_actions)
                _move(definition, storage, staging, staged, _shown_at_level4(after))
                manifest.write(storage, definition.workspace, after, by=definition.attempt_name)
    finally:
        # Also after a failure: what waits for space must not take it from others.
        discard_staged(storage, definition.attempt_name)
    return {file.name: file.output.message for file in staged if file.output.message}


def discard_staged(storage: Storage, name: str) -> None:
    """Remove what an earlier, interrupted publishing of an attempt left behind."""
    for folder in storage.staging(name):
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
    require_space(high, needed)


class _Staged(NamedTuple):
    name: str
    """In the workspace."""
    number: str
    """In the staging folders: of the file, and of what level 4 is to show."""
    output: PublishedOutput


class _Staging(NamedTuple):
    """Copies outputs from a volume into the staging folders of both areas, all open."""

    volume: int
    high: int
    medium: int
    limits: Level4Limits
    durable: bool

    def add(self, number: str, name: str, level: PrivacyLevel) -> _Staged:
        with _opened(self.volume, name) as source:
            copied = copy_open_file(source, self.high, number, called=name, durable=self.durable)
        verdict = Level4Verdict()
        if level is PrivacyLevel.MODERATELY_SENSITIVE:
            verdict = self._pass_gate(number, name, copied)
        output = PublishedOutput(
            level=level,
            size=copied.size,
            timestamp=os.stat(number, dir_fd=self.high).st_mtime,
            content_hash=copied.sha256,
            excluded=verdict.excluded,
            message=verdict.message,
            row_count=verdict.row_count,
            col_count=verdict.col_count,
        )
        return _Staged(name, number, output)

    def _pass_gate(self, number: str, name: str, copied: Copied) -> Level4Verdict:
        """Check our own copy, and stage its bytes for level 4, or a message file in their place."""
        descriptor = os.open(number, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.high)
        with os.fdopen(descriptor, "rb") as file:
            verdict = level4.decide(file, name, self.limits)
            if verdict.excluded:
                text = verdict.message_file.encode()
                write_new(self.medium, _message_file(number), text, durable=self.durable)
                return verdict
            require_space(self.medium, copied.size)
            shown = copy_open_file(
                file.fileno(), self.medium, number, called=name, durable=self.durable
            )
            if shown != copied:
                raise PermanentFault(Fault.OUTPUTS_REFUSED, f"{name} was changed after its check")
        return verdict


@contextmanager
def _opened(volume: int, name: str) -> Iterator[int]:
    try:
        source = safe_paths.open_file(volume, name)
    except (safe_paths.NotARegularFile, FileNotFoundError, NotADirectoryError) as error:
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


def _move(
    definition: JobDefinition,
    storage: Storage,
    staging: _Staging,
    staged: Sequence[_Staged],
    shown: frozenset[str],
) -> None:
    """Move everything into the workspaces; the manifest comes after."""
    level4_folder = storage.medium(definition.workspace)
    with (
        safe_paths.directory(storage.high(definition.workspace), create=True) as high,
        safe_paths.directory(level4_folder, create=True) as medium,
    ):
        places = [
            *((high, file.name) for file in staged),
            *((medium, file.name) for file in staged if file.name in shown),
            *((medium, _message_file(file.name)) for file in staged if file.output.excluded),
        ]
        # All folders are made before any place is looked at: one may be in the way of another file.
        for root, name in places:
            _make_folders(root, name)
        for root, name in places:
            _check_place(root, name)
        # Deleting comes first: a message file may have the name of a file no longer shown.
        for file in staged:
            stale = [] if file.name in shown else [file.name]
            if not file.output.excluded and _message_file(file.name) not in shown:
                stale.append(_message_file(file.name))
            for name in stale:
                try:
                    _delete(medium, name)
                except OSError as error:
                    log.warning(f"Could not delete {level4_folder / name}", reason=error.strerror)
        for file in staged:
            log.info(f"Extracting output file: {file.name}")
            _place(staging.high, file.number, high, file.name)
            if file.name in shown:
                _place(staging.medium, file.number, medium, file.name)
            # A real output may have the name that the message file would have: it stays, and the
            # message is in the job's log.
            elif file.output.excluded and _message_file(file.name) not in shown:
                _place(staging.medium, _message_file(file.number), medium, _message_file(file.name))
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


def _message_file(name: str) -> str:
    return f"{name}.txt"


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


def _place(staging: int, staged: str, root: int, name: str) -> None:
    with safe_paths.parent_of(root, name, create=True) as (folder, last):
        replace(staging, staged, folder, last)


def _delete(root: int, name: str) -> None:
    with (
        suppress(FileNotFoundError, NotADirectoryError),
        safe_paths.parent_of(root, name) as (folder, last),
    ):
        os.unlink(last, dir_fd=folder)


def _force_to_disk(root: int, folders: Iterable[tuple[str, ...]]) -> None:
    for parts in folders:
        with (
            suppress(FileNotFoundError, NotADirectoryError),
            safe_paths.open_directory(root, parts) as folder,
        ):
            os.fsync(folder)
