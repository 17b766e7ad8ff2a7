"""Which code may run: the repository, branch and commit of a study (docs/spec/controller.md 5.3,
docs/spec/agent.md 6).

The controller checks before it plans anything; each agent checks again, since it trusts nobody.
"""

import re
from collections.abc import Collection
from urllib.parse import urlsplit

from rap.errors import RequestRefused, UnknownRef
from rap.git import GitCache
from rap.models import RefusalKind

GITHUB_URL = "https://github.com"
ACTIONS_BRANCH = "main"
"""The branch on which every usable version of a reusable action is (docs/spec/controller.md 7)."""
_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]+")


def is_local(repo_url: str, *, allow_local: bool) -> bool:
    """Whether this is a path on this machine, and those are allowed (development and tests)."""
    return allow_local and repo_url.startswith("/")


def is_repository_name(name: str) -> bool:
    """Whether GitHub could have a repository, or an organisation, of this name."""
    return _NAME.fullmatch(name) is not None


def validate_repository_url(repo_url: str, allowed_orgs: Collection[str]) -> None:
    """Accept ``https://github.com/<allowed organisation>/<name>`` and nothing else.

    Raises:
        RequestRefused: with the sentence for the client; ``kind`` is ``REPOSITORY``.
    """
    try:
        parts = urlsplit(repo_url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "https" or parts.netloc != "github.com":
        raise _refused(f"Repository URL {repo_url} does not start with {GITHUB_URL}")
    org, _, name = parts.path.removeprefix("/").partition("/")
    if org not in allowed_orgs:
        raise _refused(
            f"Repository {repo_url} does not belong to one of the following Github "
            f"organisations: {' '.join(allowed_orgs)}"
        )
    name = name.removesuffix("/")
    # Compared as written: what a parser tidies away (line ends, a bare "?") git would still see.
    expected = f"{GITHUB_URL}/{org}/{name}"
    if not is_repository_name(name) or repo_url not in (expected, f"{expected}/"):
        raise _refused(
            f"Repository {repo_url} was not of the expected format: "
            f"{GITHUB_URL}/[organisation]/[project-name]"
        )


async def validate_study(
    git: GitCache,
    *,
    repo_url: str,
    branch: str,
    commit: str,
    allowed_orgs: Collection[str],
    allow_local: bool,
) -> None:
    """Accept a commit only from a branch of a repository of an allowed organisation.

    The branch matters: GitHub serves commits of forks and of pull requests as if they belonged to
    the repository, so without it anybody could have code of their own run here.

    Git is asked only when the checks that need no network have passed; with ``allow_local`` paths
    of this machine pass without any check.

    Raises:
        RequestRefused: with the sentence for the client; ``kind`` is ``REPOSITORY``.
        GitError: the repository cannot be read.
    """
    if is_local(repo_url, allow_local=allow_local):
        return
    validate_repository_url(repo_url, allowed_orgs)
    if not branch.strip():
        raise _refused("A branch name must be supplied")
    try:
        reachable = await git.commit_is_on_branch(repo_url, branch, commit)
    except UnknownRef:
        raise _refused(f"Could not find branch '{branch}'") from None
    if not reachable:
        raise _refused(f"Could not find commit on branch '{branch}': {commit}")


def _refused(message: str) -> RequestRefused:
    return RequestRefused(RefusalKind.REPOSITORY, message)
