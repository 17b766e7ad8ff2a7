"""``rap agent manifest …``: mend what output checkers are shown (agent.md 15.4, 15.5)."""

import asyncio
from pathlib import Path
from typing import Any

from rich.console import Console

from rap.cli import agent_place, show
from rap.errors import RapError
from rap.git.cache import git_cache
from worker_agent.operations import manifest
from worker_agent.operations.manifest import Repair
from worker_agent.operations.place import Place
from worker_agent.workspace.manifest_repair import Finding, Verdict

_NOTHING = "Nothing to change."


def repair(
    workspace: str,
    *,
    job: str | None,
    branch: str,
    repo: str | None,
    dry_run: bool,
    yes: bool,
    data: Path | None,
    as_json: bool,
) -> int:
    """Carry out ``rap agent manifest repair``; its exit code."""
    place = agent_place.enter(data)
    out = show.console(errors=as_json)
    with show.patience(out, "Reading the records of the jobs and their files …"):
        plan = asyncio.run(_plan(place, out, workspace, job=job, branch=branch, repo=repo))
    for finding in plan.findings:
        show.say(out, _sentence(finding))
    written = False
    if not plan.added:
        show.say(out, _NOTHING)
    elif not dry_run:
        _confirm(out, f"About to add {_entries(len(plan.added))}.", yes=yes)
        kept, added = manifest.apply(place, plan)
        written = bool(added)
        show.say(out, f"{_entries(len(added))} added.{_kept(kept)}")
    if as_json:
        outputs = [finding.model_dump(mode="json") for finding in plan.findings]
        show.print_json({"workspace": workspace, "written": written, "outputs": outputs})
    return 0


async def _plan(
    place: Place, out: Console, workspace: str, *, job: str | None, branch: str, repo: str | None
) -> Repair:
    document = manifest.existing(place, workspace, repo=repo)
    path = None if job is None else _record(place, out, job)
    if path is not None:
        manifest.job_of(path, workspace)  # before anybody waits for a repository
    study = repo or manifest.repository_of(document)
    if study is None:
        raise RapError("The manifest does not say which repository the study has: name it, --repo.")
    git = git_cache(place.settings, backend=place.settings.backend)
    actions = await manifest.actions_at_head(place, git, study, branch)
    if path is None:
        return manifest.plan_for_all(place, workspace, document, repo=study, actions=actions)
    return manifest.plan_for_job(place, workspace, path, document, repo=study, actions=actions)


def _record(place: Place, out: Console, part: str) -> Path:
    """The record of the job whose id begins so; asks if there are several.

    Raises:
        RapError: there is none, or nobody can be asked.
    """
    found = manifest.jobs_matching(place, part)
    if not found:
        raise RapError(f"No match found for job id {part}")
    if part in found:
        return found[part]
    if len(found) == 1:
        return next(iter(found.values()))
    show.say(out, f"Multiple matches found for '{part}':")
    return found[agent_place.pick(out, list(found))]


def update_actions(
    workspace: str,
    repo: str,
    commit: str,
    *,
    dry_run: bool,
    yes: bool,
    data: Path | None,
    as_json: bool,
) -> int:
    """Carry out ``rap agent manifest update-actions``; its exit code."""
    place = agent_place.enter(data)
    out = show.console(errors=as_json)
    document = manifest.existing(place, workspace, repo=None)
    git = git_cache(place.settings, backend=place.settings.backend)
    with show.patience(out, "Fetching the study's repository …"):
        actions = asyncio.run(manifest.actions_at(place, git, repo, commit))
    changed = manifest.changed_actions(document, actions)
    for name, out_of_date in changed.items():
        show.say(out, f"{name}: out_of_date_action becomes {str(out_of_date).lower()}")
    written = False
    if not changed:
        show.say(out, _NOTHING)
    elif not dry_run:
        _confirm(out, f"About to change {_entries(len(changed))}.", yes=yes)
        kept = manifest.apply_actions(place, workspace, actions)
        written = True
        show.say(out, f"Manifest of {workspace} updated.{_kept(kept)}")
    if as_json:
        document_out: dict[str, Any] = {"workspace": workspace, "written": written}
        show.print_json({**document_out, "out_of_date_action": changed})
    return 0


def _confirm(out: Console, what: str, *, yes: bool) -> None:
    """Ask before anything is changed.

    Raises:
        RapError: the answer is no, or there is nobody to answer.
    """
    if yes:
        return
    show.say(out, f"\n{what}")
    if agent_place.prompt(out, "Enter to continue, Ctrl-C to quit "):
        raise RapError("Nothing was changed.")


def _sentence(finding: Finding) -> str:
    name = agent_place.printable(finding.name)
    if finding.verdict is Verdict.PRESENT:
        return f"{name} exists in manifest.json, skipping"
    if finding.verdict is Verdict.GONE:
        return f"{name} is not in the workspace any more ({finding.reason}), skipping"
    if finding.verdict is Verdict.REFUSED:
        return f"{name} would not be shown at level 4 today ({finding.reason}), skipping"
    return f"Updating manifest output metadata for {name}"


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _kept(path: Path | None) -> str:
    return f" The manifest as it was: {path}" if path else ""
