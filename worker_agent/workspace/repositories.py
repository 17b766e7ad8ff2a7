"""Whether the code of a job may run: the agent's own judgement (docs/spec/agent.md 6).

It is reached when a job of a RAP is first prepared on this host, and then kept for the others of
that RAP, whatever becomes of the branch meanwhile.
"""

from rap.branch_verdicts import BranchVerdicts
from rap.git import GitCache
from rap.models import JobDefinition
from rap.repository_and_branch_rules import ACTIONS_BRANCH, validate_study
from rap.settings import AgentSettings
from worker_agent.workspace.storage import Storage


async def check_repositories(
    definition: JobDefinition, storage: Storage, git: GitCache, settings: AgentSettings
) -> None:
    """The study, and the code that really runs, which for a reusable action is another.

    Raises:
        RequestRefused: one of them is not allowed.
        GitError: one of them cannot be read.
        RemoteAway: a remote gives no answer.
    """
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
            rap_id=definition.rap_id,
            verdicts=BranchVerdicts(storage.state_dir / "verdicts"),
        )
