"""Mending the manifest of a workspace, beside a running agent (docs/spec/agent.md 15.4, 15.5).

A change is worked out without the workspace's lock, shown, and, once agreed to, applied under it to
the manifest as it is then: what a job published meanwhile wins. The manifest as it was is kept in
the agent's work directory, not beside it, because output checkers see all that lies there.
"""

import time
from collections.abc import Collection
from pathlib import Path

from rap.errors import RapError, TransientFault
from rap.git import GitCache
from rap.models import RUN_ALL, Model
from rap.project_reader import read_project
from rap.repository_and_branch_rules import is_local, validate_repository_url
from worker_agent.operations.place import Place, check_user
from worker_agent.workspace import locks, manifest, manifest_repair
from worker_agent.workspace.manifest import Document
from worker_agent.workspace.manifest_repair import Finding, Recorded
from worker_agent.workspace.publish import discard_staged
from worker_agent.workspace.storage import METADATA_FILE

PROJECT_FILE = "project.yaml"


class Repair(Model):
    """What a repair would do."""

    workspace: str
    entries: dict[str, Document]
    """The entries to add."""
    findings: tuple[Finding, ...]


def jobs_matching(place: Place, prefix: str) -> dict[str, Path]:
    """The jobs with a record whose id begins like this, with the record; in order of their ids."""
    found = place.storage.newest_of_jobs(METADATA_FILE)
    return {job: found[job] for job in sorted(found) if job.startswith(prefix)}


def existing(place: Place, workspace: str, *, repo: str | None) -> Document:
    """The manifest of a workspace; an empty one if there is none and the repository is known.

    RapError if there is none or it is damaged; ConfigurationError if this user is not the agent's.
    """
    check_user("WORKDIR", place.settings.workdir)
    check_user("MEDIUM_PRIVACY_STORAGE_BASE", place.settings.medium_privacy)
    try:
        if not manifest.path_of(place.storage, workspace).exists():
            if repo is None:
                raise RapError(
                    f"Could not find existing manifest file for workspace {workspace}\n"
                    "To make one from the records of its jobs, name the study's repository with "
                    "--repo."
                )
            if not place.storage.high(workspace).is_dir():
                raise RapError(f"There is no workspace {workspace} on this host.")
        return manifest.read(place.storage, workspace)
    except TransientFault as fault:
        raise RapError(
            f"{fault}\nMove it away, and run this again with --repo to make a new one from the "
            f"records of its jobs. Earlier ones are in {backups(place, workspace)}."
        ) from fault


def repository_of(document: Document) -> str | None:
    """The study's repository: that of the first entry."""
    first: Document = next(iter(document["outputs"].values()), {})
    repo = first.get("repo")
    return str(repo) if repo else None


async def actions_at_head(place: Place, git: GitCache, repo: str, branch: str) -> frozenset[str]:
    """The actions of a study at the head of a branch; RapError if they cannot be had."""
    _check_repository(place, repo)
    return await actions_at(place, git, repo, await git.resolve(repo, f"refs/heads/{branch}"))


async def actions_at(place: Place, git: GitCache, repo: str, commit: str) -> frozenset[str]:
    """The actions of a study at a commit; as above."""
    _check_repository(place, repo)
    text = await git.read_file(repo, commit, PROJECT_FILE)
    return frozenset(action.name for action in await read_project(text)) - {RUN_ALL}


def plan(
    place: Place,
    workspace: str,
    document: Document,
    *,
    repo: str,
    actions: Collection[str],
    only: Path | None = None,
) -> Repair:
    """The repair that adds what any job of the workspace has on record.

    With the record of one earlier job only that one's outputs are added, and none of them counts
    as current (15.4); or RapError, as :func:`job_of`.
    """
    if only is not None:
        job, current = job_of(only, workspace), frozenset[str]()
        wanted = dict.fromkeys(job.record.outputs, job)
    else:
        records = manifest_repair.records_of(place.storage, workspace)
        # Of what several jobs made, or ran, the last counts.
        current = frozenset({each.action: each.job_id for each in records}.values())
        wanted = {name: each for each in records for name in each.record.outputs}
    entries, findings = manifest_repair.missing_entries(
        place.storage,
        workspace,
        repo=repo,
        wanted=wanted,
        present=document["outputs"],
        actions=actions,
        current=current,
    )
    return Repair(workspace=workspace, entries=entries, findings=tuple(findings))


def job_of(path: Path, workspace: str) -> Recorded:
    """The record of a job; RapError if it is another workspace's, or has no outputs on record."""
    job_id = path.parent.name.removeprefix("os-job-")
    job = manifest_repair.recorded(path)
    if job is None or not job.record.has_outputs_on_record:
        raise RapError(f"Job {job_id} has no outputs on record: it did not run to its end.")
    if job.workspace != workspace:
        raise RapError(
            f"Metadata for job {job_id} does not match workspace provided. "
            f"Expected {workspace}, found {job.workspace}"
        )
    return job


def apply(place: Place, repair: Repair) -> tuple[Path | None, list[str]]:
    """Carry a repair out; where the manifest as it was is kept, and the names that were added.

    JobFault if the disk is full, or the manifest was damaged meanwhile.
    """
    with locks.workspace_lock(place.storage, repair.workspace):
        before = manifest.read(place.storage, repair.workspace)
        added = [name for name in repair.entries if name not in before["outputs"]]
        after = manifest_repair.with_entries(before, repair.entries)
        return _replace(place, repair.workspace, before, after), added


def apply_actions(place: Place, workspace: str, actions: Collection[str]) -> Path | None:
    """Say of every entry whether its action is among these; as :func:`apply`."""
    with locks.workspace_lock(place.storage, workspace):
        before = manifest.read(place.storage, workspace)
        return _replace(place, workspace, before, manifest_repair.with_actions(before, actions))


def changed_actions(document: Document, actions: Collection[str]) -> dict[str, bool]:
    """The entries whose ``out_of_date_action`` would change or be set, with the new value."""
    after = manifest_repair.with_actions(document, actions)["outputs"]
    return {
        name: entry["out_of_date_action"]
        for name, entry in after.items()
        if document["outputs"][name].get("out_of_date_action") is not entry["out_of_date_action"]
    }


def backups(place: Place, workspace: str) -> Path:
    """Where earlier manifests of a workspace are kept."""
    return place.settings.workdir / "state" / "manifests" / workspace


def _replace(place: Place, workspace: str, before: Document, after: Document) -> Path | None:
    if after == before:
        return None
    kept = None
    path = manifest.path_of(place.storage, workspace)
    if path.exists():
        folder = backups(place, workspace)
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f"{time.time_ns()}.json"
        kept.write_bytes(path.read_bytes())
    by = f"repair-{time.time_ns()}"
    try:
        manifest.write(place.storage, workspace, after, by=by)
    finally:
        discard_staged(place.storage, by)
    return kept


def _check_repository(place: Place, repo: str) -> None:
    if not is_local(repo, allow_local=place.settings.allow_local_git_repos):
        validate_repository_url(repo, place.settings.allowed_github_orgs)
