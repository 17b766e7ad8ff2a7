"""``rap run``: ask for actions of a study and follow them to their end (controller.md 15.4)."""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client

from rap import ids
from rap.cli import environment, orders, show
from rap.cli.jobs import Job, exit_code, jobs_of
from rap.cli.watch import INTERRUPTED, watch
from rap.errors import RepositoryUnreachable, RequestRefused, Unavailable, UnknownRef
from rap.git import GitCache, git_cache
from rap.messages import CreateAnswer, CreateOutcome
from rap.models import DEFAULT_DATABASE, CreateRequest, RefusalKind
from rap.records import Records


@dataclass(frozen=True)
class Wish:
    """What the user asked for on the command line."""

    repository: str
    actions: Sequence[str]
    backend: str | None = None
    workspace: str = "test"
    commit: str | None = None
    branch: str = "main"
    database: str = DEFAULT_DATABASE
    force_run_dependencies: bool = False


def command(wish: Wish, *, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap run``; its exit code."""
    settings = environment.enter(data)
    backend = environment.backend_of(wish.backend, settings)
    # What is reported goes to standard error where standard output is for the document.
    out = show.console(errors=as_json)
    records = environment.open_records()
    try:
        with show.patience(out, "Waiting for the controller …"):
            request, answer = asyncio.run(_submit(wish, backend, git_cache(settings)))
    except KeyboardInterrupt:
        show.say(out, "Stopped before an answer came; `rap status` shows whether a RAP was made.")
        return INTERRUPTED
    return _report(request, answer, records, data=data, as_json=as_json)


async def _submit(wish: Wish, backend: str, git: GitCache) -> tuple[CreateRequest, CreateAnswer]:
    # Nothing is looked up for a request that nobody is there to take.
    client = await orders.connected()
    request = await request_of(wish, backend, git)
    return request, await create(client, request)


async def request_of(wish: Wish, backend: str, git: GitCache) -> CreateRequest:
    """The create request that a wish stands for.

    Raises:
        RequestRefused: there is no such repository or branch; the text says so.
        GitError: the repository cannot be asked for its branches.
    """
    repo_url = _repository(wish.repository)
    commit = wish.commit or await _head(git, repo_url, wish.branch)
    return CreateRequest(
        rap_id=ids.random_rap_id(),
        backend=backend,
        workspace=wish.workspace,
        repo_url=repo_url,
        branch=wish.branch,
        commit=commit,
        database_name=wish.database,
        requested_actions=tuple(wish.actions),
        force_run_dependencies=wish.force_run_dependencies,
        created_by="controller",
        project="unknown",
        asked_at=time.time(),
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
    except RepositoryUnreachable as error:
        if not repo_url.startswith("/"):
            raise
        raise RequestRefused(
            RefusalKind.REPOSITORY,
            f"{repo_url} is not a git repository. Make one of it (git init, git add, git commit), "
            "or name the folder that holds .git",
        ) from error


async def create(client: Client, request: CreateRequest) -> CreateAnswer:
    """Send a create request and wait for the answer.

    Raises:
        Unavailable: no answer came; whether there is a RAP now is not known.
        RapError: the controller failed in a way nobody foresaw; nothing was created.
    """
    with orders.explained(request.rap_id):
        return await orders.orchestrator(client).create(request)


def _report(
    request: CreateRequest,
    answer: CreateAnswer,
    records: Records,
    *,
    data: Path | None,
    as_json: bool,
) -> int:
    """Say what came of the request; if jobs did, follow them."""
    jobs: list[Job] = []
    out = show.console(errors=as_json)
    if answer.outcome is CreateOutcome.NOTHING_TO_DO:
        show.say(out, answer.details)
        code = 0
    elif answer.outcome in (CreateOutcome.CREATED, CreateOutcome.NO_CHANGE):
        # As other commands see it, and before it is followed: it may belong to another system.
        show.say(out, _created(request, jobs_of(records, [request.rap_id])))
        try:
            jobs = watch(records, [request.rap_id], data=data, as_json=as_json)
        except KeyboardInterrupt:
            return INTERRUPTED
        code = exit_code(jobs)
    else:
        show.say(show.console(errors=True), answer.details or f"Refused: {answer.outcome.value}")
        code = 1
    if as_json:
        show.print_json(
            {
                "rap_id": request.rap_id,
                "outcome": answer.outcome.value,
                "details": answer.details,
                "count": answer.count,
                "request": request.model_dump(mode="json", exclude={"asked_at"}),
                "jobs": jobs,
            }
        )
    return code


def _created(request: CreateRequest, jobs: Sequence[Job]) -> str:
    if not jobs:
        raise Unavailable(
            f"RAP {request.rap_id} was created, but the read model does not know it: "
            "TEMPORAL_ADDRESS and RAP_DATABASE_URL seem to belong to different systems."
        )
    actions = ", ".join(job["action"] for job in jobs)
    return (
        f"RAP {request.rap_id}: {request.repo_url} at {request.commit[:12]}, "
        f"workspace {request.workspace} on {request.backend}\n"
        f"Created {len(jobs)} new jobs: {actions}"
    )
