"""What matters to whether the outputs of a workspace are stale, gathered beside a running agent.

Nothing is changed but the cache of repositories, as every job changes it.
"""

import asyncio
import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

from rap.action_file import ACTION_FILE
from rap.errors import JobFault, RapError
from rap.git import GitCache
from rap.models import ALLOWED_RUNTIMES, RUN_ALL, Model, ProjectAction
from rap.project_reader import read_action, read_project
from worker_agent.operations.manifest import check_repository, repository_of
from worker_agent.operations.place import Place, check_user
from worker_agent.operations.provenance import (
    BEING_FILED,
    Hasher,
    existing,
    filing_is_over,
    jobs_of,
)
from worker_agent.operations.staleness import (
    PROJECT_FILE,
    ActionNow,
    ActionState,
    Earlier,
    Situation,
    Verdict,
    is_reusable,
    judge,
    newest,
)
from worker_agent.workspace import manifest, provenance
from worker_agent.workspace.provenance import ProvenanceRecord
from worker_agent.workspace.storage import Storage

_TRIES = 3
"""How often files and records are read while jobs go on filing their results."""


class Staleness(Model):
    """The outputs of a workspace, compared with the newest commit of a branch."""

    workspace: str
    repo: str
    branch: str
    commit: str
    actions: tuple[ActionState, ...]
    notes: tuple[str, ...] = ()
    """What could not be read or asked."""

    @property
    def is_stale(self) -> bool:
        """Whether it is certain of any outputs."""
        return any(state.verdict is Verdict.STALE for state in self.actions)


class Jobs(NamedTuple):
    """The jobs on record in a workspace, and the files that their records name."""

    records: tuple[ProvenanceRecord, ...]
    earlier: tuple[Earlier, ...]
    contents: Mapping[str, str | None]
    """The hashes of the files as they are now."""
    notes: tuple[str, ...]


async def look(
    place: Place, git: GitCache, workspace: str, *, repo: str | None, branch: str | None
) -> Staleness:
    """Compare.

    Raises:
        RapError: the workspace, its repository or the branch is not known.
        ConfigurationError: this user is not the agent's, whose cache of repositories it is.
    """
    storage = place.storage
    check_user("WORKDIR", place.settings.workdir)
    jobs = await asyncio.to_thread(_jobs, storage, existing(storage, workspace))
    if not jobs.records and not jobs.earlier:
        raise RapError(f"No job is on record that filed outputs in workspace {workspace}.")
    latest = max(jobs.records, key=lambda each: each.filed_at_ns, default=None)
    study = repo or (latest.repo if latest else _repository(storage, workspace))
    if not study:
        raise RapError("The records do not say which repository the study has: name it, --repo.")
    wanted = branch or (latest.branch if latest else "") or "main"
    check_repository(place.settings, study)
    head = await git.resolve(study, f"refs/heads/{wanted}")
    project = await read_project(await git.read_file(study, head, PROJECT_FILE))
    current = newest(jobs.records)
    images, notes = await _image_ids(place, {record.image for record in current.values()})
    situation = Situation(
        records=jobs.records,
        earlier=jobs.earlier,
        actions={
            action.name: await _action_now(place, git, action, current.get(action.name))
            for action in project
            if action.name != RUN_ALL
        },
        differing={
            commit: await _differing(git, study, commit, head)
            for commit in {each.commit for each in current.values() if not is_reusable(each)}
        },
        contents=jobs.contents,
        image_ids=images,
    )
    return Staleness(
        workspace=workspace,
        repo=study,
        branch=wanted,
        commit=head,
        actions=judge(situation),
        notes=(*jobs.notes, *notes),
    )


def _jobs(storage: Storage, workspace: str) -> Jobs:
    """Records and files that belong together: read again if a job filed its results meanwhile."""
    for _ in range(_TRIES):
        is_over = filing_is_over(storage, workspace)
        found, notes = jobs_of(storage, workspace)
        records = tuple(job.record for job in found if job.record is not None)
        contents = _contents(storage, workspace, newest(records).values())
        after = {record.job_id for record in provenance.records_of(storage, workspace)}
        if is_over and after == {record.job_id for record in records}:
            break
    else:
        notes = (*notes, BEING_FILED)
    earlier = sorted(
        (job for job in found if job.record is None), key=lambda job: (job.filed_at_ns, job.job_id)
    )
    last = {job.action: Earlier(job.action, job.job_id, tuple(job.outputs)) for job in earlier}
    return Jobs(records, tuple(last.values()), contents, notes)


def _repository(storage: Storage, workspace: str) -> str | None:
    try:
        return repository_of(manifest.read(storage, workspace))
    except JobFault:
        return None


async def _action_now(
    place: Place, git: GitCache, action: ProjectAction, record: ProvenanceRecord | None
) -> ActionNow:
    words = shlex.split(action.run_command)
    name, _, tag = words[0].partition(":")
    commit, command = "", tuple(words)
    if name not in ALLOWED_RUNTIMES:
        # Where reusable actions are, the records of jobs that ran one tell.
        repo = record.action_repo if record is not None and is_reusable(record) else ""
        found = await _reusable(place, git, repo, tag) if repo.endswith(f"/{name}") else None
        if found is None:
            command = ()
        else:
            commit, command = found[0], (*found[1], *words[1:])
    return ActionNow(
        needs=action.needs,
        patterns={
            pattern: level
            for level, patterns in action.outputs.items()
            for pattern in patterns.values()
        },
        command=(f"{place.settings.docker_registry}/{command[0]}", *command[1:])
        if command
        else None,
        action_commit=commit,
    )


async def _reusable(
    place: Place, git: GitCache, repo: str, tag: str
) -> tuple[str, tuple[str, ...]] | None:
    """The commit of a reusable action's version, and the words that it stands for."""
    try:
        check_repository(place.settings, repo)
        commit = await git.resolve(repo, tag)
        return commit, await read_action(await git.read_file(repo, commit, ACTION_FILE))
    except RapError:
        return None


async def _differing(git: GitCache, repo: str, commit: str, head: str) -> tuple[str, ...] | None:
    if commit == head:
        return ()
    try:
        return await git.differing_files(repo, commit, head)
    except RapError:
        return None  # a branch that was pushed by force leaves such commits


def _contents(
    storage: Storage, workspace: str, records: Iterable[ProvenanceRecord]
) -> Mapping[str, str | None]:
    names = set[str]()
    for record in records:
        names |= {file.name for file in record.inputs} | {file.name for file in record.outputs}
    tell = Hasher(storage, workspace)
    return {name: tell(name) for name in sorted(names)}


async def _image_ids(
    place: Place, images: Collection[str]
) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """What the names stand for on this host; an engine that does not answer is a note."""
    ids: dict[str, str | None] = {}
    try:
        for image in sorted(images):
            found = await place.engine.images.find(image)
            ids[image] = None if found is None else str(found["Id"])
    except JobFault:
        return ids, ("Docker does not answer: images are not compared.",)
    return ids, ()
