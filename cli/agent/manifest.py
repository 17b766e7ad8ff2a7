"""``rap agent manifest …``: mend what output checkers are shown (docs/spec/agent.md 15.4, 15.5)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import prompts
from cli.agent import place as agent_place
from cli.agent.place import Data, Yes
from cli.console import messages, patience, print_json, printable, say
from cli.lazy_group import LazyGroup
from cli.options import Json
from rap.errors import RapError

if TYPE_CHECKING:
    from rich.console import Console

    from worker_agent.operations.manifest import Repair
    from worker_agent.operations.place import Place
    from worker_agent.workspace.manifest_repair import Finding

_NOTHING = "Nothing to change."

Workspace = Annotated[str, typer.Argument(metavar="WORKSPACE", help="Name of the workspace.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, change nothing.")]

group = LazyGroup(
    __name__,
    ("repair", "update-actions"),
    name="manifest",
    help="Look after what output checkers are shown.",
)


def repair(
    *,
    workspace: Workspace,
    job: Annotated[
        str | None,
        typer.Option(
            metavar="ID",
            help="Only the outputs of this earlier job (the beginning of its id is enough), "
            "flagged as out of date. Default: all jobs on record.",
        ),
    ] = None,
    branch: Annotated[
        str, typer.Option(help="Branch whose head says which actions the study has.")
    ] = "main",
    repo: Annotated[
        str | None,
        typer.Option(help="The study's repository. Default: that of the manifest's first entry."),
    ] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Add what a manifest lacks, from the records of jobs and the files that are there.

    Entries that are there stay as they are; nothing is deleted. The agent may be running.

    Example: rap agent manifest repair asthma --dry-run
    """
    from worker_agent.operations import manifest

    place = agent_place.enter(data)
    out = messages(as_json=as_json)
    with patience(out, "Reading the records of the jobs and their files …"):
        plan = asyncio.run(_plan(place, out, workspace, job=job, branch=branch, repo=repo))
    for finding in plan.findings:
        say(out, _sentence(finding))
    written = False
    if not plan.entries:
        say(out, _NOTHING)
    elif not dry_run:
        _confirm(out, f"About to add {_entries(len(plan.entries))}.", yes=yes)
        kept, added = manifest.apply(place, plan)
        written = bool(added)
        say(out, f"{_entries(len(added))} added.{_kept(kept)}")
    if as_json:
        outputs = [finding.model_dump(mode="json") for finding in plan.findings]
        print_json({"workspace": workspace, "written": written, "outputs": outputs})


async def _plan(
    place: Place, out: Console, workspace: str, *, job: str | None, branch: str, repo: str | None
) -> Repair:
    from rap.git.cache import git_cache
    from worker_agent.operations import manifest

    document = manifest.existing(place, workspace, repo=repo)
    path = None if job is None else _record(out, job, manifest.jobs_matching(place, job))
    if path is not None:
        manifest.job_of(path, workspace)  # before anybody waits for a repository
    study = repo or manifest.repository_of(document)
    if study is None:
        raise RapError("The manifest does not say which repository the study has: name it, --repo.")
    git = git_cache(place.settings, backend=place.settings.backend)
    actions = await manifest.actions_at_head(place, git, study, branch)
    return manifest.plan(place, workspace, document, repo=study, actions=actions, only=path)


def _record(out: Console, part: str, found: dict[str, Path]) -> Path:
    """The record of the job whose id begins so; asks if there are several."""
    if not found:
        raise RapError(f"No match found for job id {part}")
    if part in found:
        return found[part]
    if len(found) == 1:
        return next(iter(found.values()))
    say(out, f"Multiple matches found for '{part}':")
    return found[prompts.pick(out, list(found))]


def update_actions(
    *,
    workspace: Workspace,
    repo: Annotated[str, typer.Argument(metavar="REPO_URL", help="The study's repository.")],
    commit: Annotated[str, typer.Argument(metavar="COMMIT", help="Full id.")],
    dry_run: DryRun = False,
    yes: Yes = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say of every output whether its action is in the project file of a commit.

    Changes `out_of_date_action` and nothing else.

    Example: rap agent manifest update-actions asthma https://github.com/opensafely/asthma
    0123456789abcdef0123456789abcdef01234567
    """
    from rap.git.cache import git_cache
    from worker_agent.operations import manifest

    place = agent_place.enter(data)
    out = messages(as_json=as_json)
    document = manifest.existing(place, workspace, repo=None)
    git = git_cache(place.settings, backend=place.settings.backend)
    with patience(out, "Fetching the study's repository …"):
        actions = asyncio.run(manifest.actions_at(place, git, repo, commit))
    changed = manifest.changed_actions(document, actions)
    for name, out_of_date in changed.items():
        say(out, f"{name}: out_of_date_action becomes {str(out_of_date).lower()}")
    written = False
    if not changed:
        say(out, _NOTHING)
    elif not dry_run:
        _confirm(out, f"About to change {_entries(len(changed))}.", yes=yes)
        kept = manifest.apply_actions(place, workspace, actions)
        written = True
        say(out, f"Manifest of {workspace} updated.{_kept(kept)}")
    if as_json:
        print_json({"workspace": workspace, "written": written, "out_of_date_action": changed})


def _confirm(out: Console, what: str, *, yes: bool) -> None:
    """Ask before anything is changed; RapError if that is not wanted."""
    if yes:
        return
    say(out, f"\n{what}")
    if prompts.answer(out, "Enter to continue, Ctrl-C to quit "):
        raise RapError("Nothing was changed.")


def _sentence(finding: Finding) -> str:
    from worker_agent.workspace.manifest_repair import Verdict

    name, reason = printable(finding.name), finding.reason
    return {
        Verdict.ADDED: f"Updating manifest output metadata for {name}",
        Verdict.PRESENT: f"{name} exists in manifest.json, skipping",
        Verdict.GONE: f"{name} is not in the workspace any more ({reason}), skipping",
        Verdict.REFUSED: f"{name} would not be shown at level 4 today ({reason}), skipping",
    }[finding.verdict]


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _kept(path: Path | None) -> str:
    return f" The manifest as it was: {path}" if path else ""
