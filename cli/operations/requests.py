"""What a command line asks of a workspace: to create a RAP, and to cancel jobs of one."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from temporalio.client import Client

from cli.rap_jobs import has_ended, jobs_of, known_jobs_of
from rap import ids
from rap.deadlines import CLIENT_S
from rap.errors import RapError, RepositoryRefused, RequestRefused, Unavailable, UnknownRef
from rap.git import GitCache
from rap.messages.workspaces import CancelRequest, CreateAnswer, CreateOutcome
from rap.models import DEFAULT_DATABASE, CreateRequest, RefusalKind
from rap.records import Records
from workflows.client import OrderFailed, OrderLost, TemporalOrchestrator

SEEN_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.1
"""The read model has no events to wait for."""


async def request_of(
    git: GitCache,
    repository: str,
    actions: Sequence[str],
    *,
    backend: str,
    workspace: str = "test",
    commit: str | None = None,
    branch: str = "main",
    database: str = DEFAULT_DATABASE,
    force_run_dependencies: bool = False,
) -> CreateRequest:
    """The create request for actions of a study, by default at the head of the branch.

    Raises:
        RequestRefused: there is no such repository or branch; the text says so.
        GitError: there is no such repository for us.
        RemoteAway: it gives no answer.
    """
    repo_url = _repository(repository)
    return CreateRequest(
        rap_id=ids.random_rap_id(),
        backend=backend,
        workspace=workspace,
        repo_url=repo_url,
        branch=branch,
        commit=commit or await _head(git, repo_url, branch),
        database_name=database,
        requested_actions=tuple(actions),
        force_run_dependencies=force_run_dependencies,
        created_by="controller",
        project="unknown",
    )


def _repository(given: str) -> str:
    """The URL of a repository: a path becomes absolute, anything with ``://`` stays."""
    if "://" in given:
        return given
    path = Path(os.path.abspath(Path(given).expanduser()))  # noqa: PTH100 - links stay links
    if not path.is_dir():
        raise RequestRefused(
            RefusalKind.REPOSITORY,
            f"There is no folder {path}. Name the folder of a git repository, or a URL such as "
            "https://github.com/opensafely/example-study",
        )
    return str(path)


async def _head(git: GitCache, repo_url: str, branch: str) -> str:
    try:
        return await git.resolve(repo_url, f"refs/heads/{branch}")
    except UnknownRef as error:
        raise RequestRefused(
            RefusalKind.REPOSITORY,
            f"Could not find branch '{branch}' in {repo_url}. Name another one with --branch, "
            "or commit something to it first.",
        ) from error
    except RepositoryRefused as error:
        if not repo_url.startswith("/"):
            raise
        raise RequestRefused(
            RefusalKind.REPOSITORY,
            f"{repo_url} is not a git repository. Make one of it (git init, git add, git commit), "
            "or name the folder that holds .git",
        ) from error


@contextmanager
def _workspaces(client: Client, rap_id: str) -> Iterator[TemporalOrchestrator]:
    """What takes orders to workspaces; their failures become sentences for whoever gave them.

    Raises:
        Unavailable: no answer came; whether the order is carried out is not known.
        RapError: the workspace failed in a way nobody foresaw, or was ended meanwhile.
    """

    async def given() -> Client:
        return client

    try:
        yield TemporalOrchestrator(given, CLIENT_S)
    except OrderLost as error:
        raise Unavailable(
            "No answer came. Check that Temporal and the controller run; "
            f"`rap status {rap_id}` tells what became of it."
        ) from error
    except OrderFailed as error:
        raise RapError(
            f"The workspace failed at it; `rap status {rap_id}` tells what became of it. The cause "
            "is in the log of the controller."
        ) from error


async def create(client: Client, request: CreateRequest) -> CreateAnswer:
    """Send a create request and wait for the answer; fails as :func:`_workspaces`.

    Raises:
        Unavailable: also if it cannot be decided now; nobody offers it again.
        RapError: also if the controller failed in a way nobody foresaw.
    """
    with _workspaces(client, request.rap_id) as workspaces:
        answer = await workspaces.create(request)
    if answer.outcome is CreateOutcome.NOT_NOW:
        raise Unavailable(f"Nothing was created, but it may work later: {answer.details}")
    if answer.outcome is CreateOutcome.FAILED:
        raise RapError(
            "Unknown error: nothing was changed. The cause is in the log of the controller."
        )
    return answer


def created(request: CreateRequest, records: Records) -> str:
    """What was created; Unavailable if the read model does not know it."""
    jobs = records.rap(request.rap_id)
    if not jobs:
        raise Unavailable(
            f"RAP {request.rap_id} was created, but the read model does not know it: "
            "TEMPORAL_ADDRESS and RAP_DATABASE_URL seem to belong to different systems."
        )
    return (
        f"RAP {request.rap_id}: {request.repo_url} at {request.commit[:12]}, "
        f"workspace {request.workspace} on {request.backend}\n"
        f"Created {len(jobs)} new jobs: {', '.join(job.action for job in jobs)}"
    )


# --- cancelling ---


def choose(records: Records, rap_id: str, actions: Sequence[str]) -> list[str]:
    """The actions to cancel: those named, or all that have not ended; RapError if unknown."""
    jobs = known_jobs_of(records, rap_id)
    unknown = sorted(set(actions) - {job["action"] for job in jobs})
    if unknown:
        known = ", ".join(job["action"] for job in jobs)
        raise RapError(
            f"RAP {rap_id} has no action {', '.join(unknown)}; it has {known}. "
            "Nothing was cancelled."
        )
    unfinished = [job["action"] for job in jobs if not has_ended(job)]
    return list(dict.fromkeys(actions)) or unfinished


async def cancel(client: Client, records: Records, rap_id: str, actions: Sequence[str]) -> None:
    """Tell the workspace of a RAP to cancel actions of it; fails as :func:`_workspaces`."""
    first = records.rap(rap_id)[0]
    request = CancelRequest(rap_id=rap_id, actions=tuple(actions), by="rap cancel")
    with _workspaces(client, rap_id) as workspaces:
        await workspaces.cancel(first.backend, first.workspace, request)


def wait_until_seen(
    records: Records, rap_id: str, actions: Sequence[str], *, within: float = SEEN_WITHIN_S
) -> None:
    """Wait until readers see that the jobs of cancelled actions have ended.

    Unavailable if they do not within so many seconds.
    """
    deadline = time.monotonic() + within
    while not all(has_ended(job) for job in jobs_of(records, [rap_id]) if job["action"] in actions):
        if time.monotonic() > deadline:
            raise Unavailable(
                f"RAP {rap_id} was told to cancel, but not all of these jobs have ended after "
                f"{within:.0f} s. `rap status {rap_id}` shows them; if they stay as they are, the "
                "workflow of the RAP may have been terminated, or the controller does not run."
            )
        time.sleep(_LOOK_EVERY_S)
