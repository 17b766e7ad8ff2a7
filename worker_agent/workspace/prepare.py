"""The start of an attempt: a volume with its code and its inputs (docs/spec/agent.md 6, 7).

The volume is put together under another name and renamed when it is complete, with the marker in
it. So a volume either is complete or is not there, whenever the agent was killed, and whatever the
repository contains. Its files are not forced to the disk, so one from before the host's last start,
which may have been a loss of power, is not trusted but made again.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import structlog

from rap.egress import Fault
from rap.errors import (
    GitError,
    PermanentFault,
    RepositoryRefused,
    RequestRefused,
    TransientFault,
    Unavailable,
)
from rap.git import GitCache
from rap.models import JobDefinition
from rap.settings import AgentSettings
from worker_agent.atomic_files import write_file
from worker_agent.disk import disk_faults, require_space
from worker_agent.workspace import inputs, outputs, safe_paths, untouched
from worker_agent.workspace.locks import job_lock
from worker_agent.workspace.provenance import InputFile
from worker_agent.workspace.removing import remove_tree
from worker_agent.workspace.repositories import check_repositories
from worker_agent.workspace.storage import Storage
from worker_agent.workspace.untouched import FileState

log = structlog.get_logger()

Note = Callable[[JobDefinition, Iterable[InputFile], Mapping[str, FileState]], None]


async def prepare(
    definition: JobDefinition,
    storage: Storage,
    git: GitCache,
    settings: AgentSettings,
    note: Note,
) -> None:
    """Make the volume of a job; one that is complete already is left as it is.

    Its container must not exist. Whatever an earlier attempt left in the volume is removed.
    ``note`` is told of the inputs, and of the files that could be taken for outputs, before the
    volume counts as complete.

    Raises:
        PermanentFault: REPOSITORY_REFUSED, COMMIT_UNAVAILABLE, WORKSPACE_ARCHIVED,
            OUTPUTS_REFUSED (an output pattern that names no file of the volume),
            INPUT_RECORD_MISSING, INPUT_MISSING; UNEXPECTED for a name unfit for a path.
        InputsReplaced: an input is not what a succeeded job of a needed action has filed.
        TransientFault: GIT_UNREACHABLE, DISK_FULL, INPUT_CHANGED, or UNEXPECTED (the disk does not
            obey, or the manifest of the workspace is damaged).
    """
    if await asyncio.to_thread(is_complete, storage, definition.attempt_name):
        return
    outputs.check_patterns(definition.output_spec)
    with _git_faults():
        await check_repositories(definition, storage, git, settings)
    await asyncio.to_thread(_make_room, definition, storage, settings)
    log.info(f"Copying in code from {definition.repo_url}@{definition.commit}")
    with _git_faults():
        try:
            unfinished = storage.unfinished(definition.attempt_name)
            await git.checkout(definition.repo_url, definition.commit, unfinished)
        except GitError:
            # Git does not say that the disk is full.
            _require_space(storage, settings, definition.attempt_name, 0)
            raise
    unwanted = Event()
    try:
        await asyncio.to_thread(_complete, definition, storage, settings, note, unwanted)
    except asyncio.CancelledError:
        unwanted.set()
        raise


def is_complete(storage: Storage, name: str) -> bool:
    """Whether the volume of a job was completed since the host was last started.

    The marker's text is for people. It is never read: the job's program could have written it.
    """
    try:
        with safe_paths.directory(storage.volume(name)) as volume:
            marker = safe_paths.open_file(volume, outputs.MARKER)
    except (FileNotFoundError, NotADirectoryError, safe_paths.NotARegularFile):
        return False
    try:
        return os.fstat(marker).st_ctime_ns >= _host_started_at_ns()
    finally:
        os.close(marker)


def _host_started_at_ns() -> int:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1]) * 1_000_000_000
    return 0


def _make_room(definition: JobDefinition, storage: Storage, settings: AgentSettings) -> None:
    """Check what can be before anything is written, and make an empty folder."""
    with job_lock(definition.attempt_name):
        if storage.archived(definition.workspace):
            log.info(f"Workspace {definition.workspace} has been archived.")
            raise PermanentFault(
                Fault.WORKSPACE_ARCHIVED,
                f"Workspace {definition.workspace} has been archived. "
                "Contact the OpenSAFELY tech team to resolve",
            )
        needed = inputs.sizes(definition, storage)
        for leftover in (
            storage.volume(definition.attempt_name),
            storage.unfinished(definition.attempt_name),
            storage.gathered(definition.attempt_name),
        ):
            remaining = remove_tree(leftover)
            if remaining:
                raise TransientFault(
                    Fault.UNEXPECTED, f"could not remove {len(remaining)} files from {leftover}"
                )
        _require_space(storage, settings, definition.attempt_name, needed)
        with disk_faults():
            # Only the user of the container looks inside (docs/spec/agent.md 7.3).
            storage.unfinished(definition.attempt_name).mkdir(mode=0o700)


def _require_space(storage: Storage, settings: AgentSettings, name: str, needed: int) -> None:
    with disk_faults(), safe_paths.directory(storage.volume(name).parent, create=True) as volumes:
        require_space(volumes, needed, reserve=settings.disk_reserve_mb * 2**20)


def _complete(
    definition: JobDefinition,
    storage: Storage,
    settings: AgentSettings,
    note: Note,
    unwanted: Event,
) -> None:
    """Add the inputs and the marker to the code, and give the volume its name."""
    unfinished, gathered = (
        storage.unfinished(definition.attempt_name),
        storage.gathered(definition.attempt_name),
    )
    with job_lock(definition.attempt_name), disk_faults():
        try:
            gathered.mkdir(mode=0o700)
            with (
                safe_paths.directory(unfinished) as volume,
                safe_paths.directory(gathered) as folder,
            ):
                copies = inputs.gather(definition, storage, folder, unwanted)
                inputs.place(folder, copies, volume)
                _give_to(volume, settings.docker_user_id, settings.docker_group_id)
                laid_out = untouched.laid_out(volume, definition.output_spec)
        finally:
            remove_tree(gathered)
        note(definition, copies.values(), laid_out)
        marker = unfinished / outputs.MARKER
        remove_tree(marker)  # the repository may have something of that name
        write_file(marker, str(time.time_ns()).encode(), durable=False)
        unfinished.rename(storage.volume(definition.attempt_name))


def _give_to(volume: int, user: int, group: int) -> None:
    """Let the user of the container work in the volume, where we may give files away."""
    if os.geteuid() != 0 or (user, group) == (os.geteuid(), os.getegid()):
        return
    for _, folders, files, here in os.fwalk(".", dir_fd=volume, follow_symlinks=False):
        for name in (*folders, *files):
            with suppress(FileNotFoundError):
                os.chown(name, user, group, dir_fd=here, follow_symlinks=False)
    os.chown(volume, user, group)


@contextmanager
def _git_faults() -> Iterator[None]:
    try:
        yield
    except RequestRefused as error:
        raise PermanentFault(Fault.REPOSITORY_REFUSED, str(error)) from error
    except (RepositoryRefused, Unavailable) as error:
        # Also what the remote refuses: our own access to it may be what is amiss.
        raise TransientFault(Fault.GIT_UNREACHABLE, str(error)) from error
    except GitError as error:
        raise PermanentFault(Fault.COMMIT_UNAVAILABLE, str(error)) from error
