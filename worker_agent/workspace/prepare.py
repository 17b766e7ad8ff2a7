"""The start of an attempt: a volume with its code and its inputs (docs/spec/agent.md 6, 7).

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
    PermanentFault,
    RepositoryRefused,
    RequestRefused,
    TransientFault,
    Unavailable,
)
from rap.git import GitCache
from rap.models import JobDefinition
from rap.repository_and_branch_rules import ACTIONS_BRANCH, validate_study
from rap.settings import AgentSettings
from worker_agent.atomic_files import write_file
from worker_agent.disk import disk_faults, require_space
from worker_agent.workspace import metadata, outputs, safe_paths
from worker_agent.workspace.copying import copy_into
from worker_agent.workspace.locks import job_lock
from worker_agent.workspace.removing import remove_tree
from worker_agent.workspace.storage import Storage

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
    if await asyncio.to_thread(is_complete, storage, definition.attempt_name):
        return
    outputs.check_patterns(definition.output_spec)
    with _git_faults():
        await _check_repositories(definition, git, settings)
    inputs = await asyncio.to_thread(_make_room, definition, storage, settings)
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
        await asyncio.to_thread(_complete, definition, storage, settings, inputs, unwanted)
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
        await validate_study(
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
    """Check what can be before anything is written, and make an empty folder; the input files."""
    with job_lock(definition.attempt_name):
        if storage.archived(definition.workspace):
            log.info(f"Workspace {definition.workspace} has been archived.")
            raise PermanentFault(
                Fault.WORKSPACE_ARCHIVED,
                f"Workspace {definition.workspace} has been archived. "
                "Contact the OpenSAFELY tech team to resolve",
            )
        inputs = _inputs(definition, storage)
        needed = 0
        for name in inputs:
            with _opened_input(definition, storage, name) as source:
                needed += os.fstat(source).st_size
        for leftover in (
            storage.volume(definition.attempt_name),
            storage.unfinished(definition.attempt_name),
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
        return inputs


def _require_space(storage: Storage, settings: AgentSettings, name: str, needed: int) -> None:
    with disk_faults(), safe_paths.directory(storage.volume(name).parent, create=True) as volumes:
        require_space(volumes, needed, reserve=settings.disk_reserve_mb * 2**20)


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


@contextmanager
def _opened_input(definition: JobDefinition, storage: Storage, name: str) -> Iterator[int]:
    try:
        with safe_paths.directory(storage.high(definition.workspace)) as workspace:
            source = safe_paths.open_file(workspace, name)
    except (
        FileNotFoundError,
        NotADirectoryError,
        safe_paths.NotARegularFile,
        safe_paths.UnsafeName,
    ):
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
    unfinished = storage.unfinished(definition.attempt_name)
    with job_lock(definition.attempt_name), disk_faults():
        with safe_paths.directory(unfinished) as volume:
            for name in inputs:
                log.info(f"Copying input file: {name}")
                with _opened_input(definition, storage, name) as source:
                    try:
                        copy_into(source, volume, name, unwanted)
                    except (NotADirectoryError, IsADirectoryError) as error:
                        raise PermanentFault(
                            Fault.REPOSITORY_REFUSED,
                            "the repository has something else in the place of the input file "
                            f"{name}",
                        ) from error
            _give_to(volume, settings.docker_user_id, settings.docker_group_id)
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
