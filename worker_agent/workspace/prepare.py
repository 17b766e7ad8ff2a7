"""The start of an attempt at a job: a volume with its code and its inputs (agent.md 6, 7).

The volume is put together under another name and renamed when it is complete, with the marker in
it. So a volume either is complete or is not there, whenever the agent was killed, and whatever the
repository contains. Its files are not forced to the disk, so one from before the host's last start,
which may have been a loss of power, is not trusted but made again.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import structlog

from rap.egress import Fault
from rap.errors import (
    GitError,
    GitNetworkError,
    PermanentFault,
    RepositoryUnreachable,
    RequestRefused,
    TransientFault,
)
from rap.git import GitCache
from rap.models import JobDefinition
from rap.repository_rules import ACTIONS_BRANCH, check_study
from rap.settings import AgentSettings
from worker_agent.workspace import beneath, metadata, outputs
from worker_agent.workspace.copying import check_space, copy_into, disk_faults, write_file
from worker_agent.workspace.removing import remove_tree
from worker_agent.workspace.storage import Storage, component
from worker_agent.workspace.turns import turn_of_job

log = structlog.get_logger()


async def prepare(
    definition: JobDefinition, storage: Storage, git: GitCache, settings: AgentSettings
) -> None:
    """Make the volume of a job; one that is complete already is left as it is.

    Its container must not exist. Whatever an earlier attempt left in the volume is removed.

    Raises:
        PermanentFault: REPOSITORY_REFUSED, COMMIT_UNAVAILABLE, WORKSPACE_ARCHIVED,
            OUTPUTS_REFUSED (an output pattern that names no file of the volume),
            INPUT_RECORD_MISSING, INPUT_MISSING; UNEXPECTED for a name unfit for a path.
        TransientFault: GIT_UNREACHABLE, DISK_FULL, or UNEXPECTED (the disk does not obey).
    """
    if await asyncio.to_thread(prepared_at, storage, definition.id) is not None:
        return
    component("action", definition.action)  # will name the log
    outputs.check_patterns(definition.output_spec)
    with _git_faults():
        await _check_repositories(definition, git, settings)
    inputs = await asyncio.to_thread(_make_room, definition, storage, settings)
    log.info(f"Copying in code from {definition.repo_url}@{definition.commit}")
    with _git_faults():
        try:
            unfinished = storage.unfinished(definition.id)
            await git.checkout(definition.repo_url, definition.commit, unfinished)
        except GitError:
            _check_space(
                storage, settings, definition.id, 0
            )  # git does not say that the disk is full
            raise
    unwanted = Event()
    try:
        await asyncio.to_thread(_complete, definition, storage, settings, inputs, unwanted)
    except asyncio.CancelledError:
        unwanted.set()
        raise


def prepared_at(storage: Storage, job_id: str) -> int | None:
    """When the volume of a job was completed, nanoseconds since the epoch; ``None``: it is not, or
    not since the host was last started.
    """
    try:
        with beneath.directory(storage.volume(job_id)) as volume:
            marker = beneath.open_file(volume, outputs.MARKER)
    except (FileNotFoundError, NotADirectoryError, beneath.NotARegularFile):
        return None
    try:
        text = os.read(marker, 64).strip()
        made = os.fstat(marker).st_ctime_ns
    finally:
        os.close(marker)
    if made < _host_started_at_ns():
        return None
    return int(text) if text.isdigit() else made


def _host_started_at_ns() -> int:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return int(line.split()[1]) * 1_000_000_000
    return 0


async def _check_repositories(
    definition: JobDefinition, git: GitCache, settings: AgentSettings
) -> None:
    """The study, and the code that really runs, which for a reusable action is another."""
    study = definition.study
    wanted = {(study.git_repo_url, study.branch, study.commit)}
    if definition.repo_url == study.git_repo_url:
        wanted.add((study.git_repo_url, study.branch, definition.commit))
    else:
        # A tag of a version may be moved, but only what was reviewed is on the main branch.
        wanted.add((definition.repo_url, ACTIONS_BRANCH, definition.commit))
    for repo_url, branch, commit in sorted(wanted):
        await check_study(
            git,
            repo_url=repo_url,
            branch=branch,
            commit=commit,
            allowed_orgs=settings.allowed_github_orgs,
            allow_local=settings.allow_local_git_repos,
        )


def _make_room(
    definition: JobDefinition, storage: Storage, settings: AgentSettings
) -> tuple[str, ...]:
    """Check what can be checked before anything is written, and make an empty folder for the code.

    Returns:
        The names of the input files.
    """
    with turn_of_job(definition.id):
        return _make_empty_folder(definition, storage, settings)


def _make_empty_folder(
    definition: JobDefinition, storage: Storage, settings: AgentSettings
) -> tuple[str, ...]:
    if storage.archived(definition.workspace):
        log.info(f"Workspace {definition.workspace} has been archived.")
        raise PermanentFault(
            Fault.WORKSPACE_ARCHIVED,
            f"Workspace {definition.workspace} has been archived. "
            "Contact the OpenSAFELY tech team to resolve",
        )
    inputs = _inputs(definition, storage)
    needed = sum(_size_of_input(definition, storage, name) for name in inputs)
    for leftover in (storage.volume(definition.id), storage.unfinished(definition.id)):
        remaining = remove_tree(leftover)
        if remaining:
            raise TransientFault(
                Fault.UNEXPECTED, f"could not remove {len(remaining)} files from {leftover}"
            )
    _check_space(storage, settings, definition.id, needed)
    with disk_faults():
        # Only the user of the container looks inside (agent.md 7.3).
        storage.unfinished(definition.id).mkdir(mode=0o700)
    return inputs


def _check_space(storage: Storage, settings: AgentSettings, job_id: str, needed: int) -> None:
    with disk_faults(), beneath.directory(storage.volume(job_id).parent, create=True) as volumes:
        check_space(volumes, needed, reserve=settings.disk_reserve_mb * 2**20)


def _inputs(definition: JobDefinition, storage: Storage) -> tuple[str, ...]:
    """All recorded outputs of the jobs whose outputs this one needs, each once."""
    names: dict[str, None] = {}
    for job_id in definition.input_job_ids:
        record = metadata.load(storage, job_id)
        if record is None or not record.has_outputs_on_record:
            raise PermanentFault(
                Fault.INPUT_RECORD_MISSING, f"there is no record of the outputs of job {job_id}"
            )
        names.update(dict.fromkeys(record.outputs))
    return tuple(names)


def _size_of_input(definition: JobDefinition, storage: Storage, name: str) -> int:
    with _opened_input(definition, storage, name) as source:
        return os.fstat(source).st_size


@contextmanager
def _opened_input(definition: JobDefinition, storage: Storage, name: str) -> Iterator[int]:
    try:
        with beneath.directory(storage.high(definition.workspace)) as workspace:
            source = beneath.open_file(workspace, name)
    except (FileNotFoundError, NotADirectoryError, beneath.NotARegularFile, beneath.UnsafeName):
        raise PermanentFault(
            Fault.INPUT_MISSING,
            f"The file {name} doesn't exist in workspace {definition.workspace} "
            f"as requested for job {definition.id}",
        ) from None
    try:
        yield source
    finally:
        os.close(source)


def _complete(
    definition: JobDefinition,
    storage: Storage,
    settings: AgentSettings,
    inputs: tuple[str, ...],
    unwanted: Event,
) -> None:
    """Add the inputs and the marker to the code, and give the volume its name."""
    unfinished = storage.unfinished(definition.id)
    with turn_of_job(definition.id), disk_faults():
        _add_inputs(definition, storage, settings, inputs, unwanted)
        marker = unfinished / outputs.MARKER
        remove_tree(marker)  # the repository may have something of that name
        write_file(marker, str(time.time_ns()).encode(), durable=False)
        unfinished.rename(storage.volume(definition.id))


def _add_inputs(
    definition: JobDefinition,
    storage: Storage,
    settings: AgentSettings,
    inputs: tuple[str, ...],
    unwanted: Event,
) -> None:
    with beneath.directory(storage.unfinished(definition.id)) as volume:
        for name in inputs:
            log.info(f"Copying input file: {name}")
            with _opened_input(definition, storage, name) as source:
                _add_input(source, volume, name, unwanted)
        _give_to(volume, settings.docker_user_id, settings.docker_group_id)


def _add_input(source: int, volume: int, name: str, unwanted: Event) -> None:
    try:
        copy_into(source, volume, name, unwanted)
    except (NotADirectoryError, IsADirectoryError) as error:
        raise PermanentFault(
            Fault.REPOSITORY_REFUSED,
            f"the repository has something else in the place of the input file {name}",
        ) from error


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
    except (RepositoryUnreachable, GitNetworkError) as error:
        raise TransientFault(Fault.GIT_UNREACHABLE, str(error)) from error
    except GitError as error:
        raise PermanentFault(Fault.COMMIT_UNAVAILABLE, str(error)) from error
