"""``rap run``: ask for actions of a study and follow them (docs/spec/controller.md 15.4)."""

from typing import Annotated

import typer

from cli import environment
from cli.console import messages, patience, print_json, say, stderr
from cli.options import Actions, Branch, Commit, Data, Force, Json, Repository, RunOn, Workspace


def run(
    *,
    repository: Repository,
    actions: Actions,
    backend: RunOn = None,
    workspace: Workspace = "test",
    commit: Commit = None,
    branch: Branch = "main",
    database: Annotated[str, typer.Option(help="Name of the database.")] = "default",
    force_run_dependencies: Force = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run actions of a study, with the actions they need, and follow them to their end.

    Only what is committed takes part. Ends with 0 if all jobs succeeded or there was nothing to
    do, with 1 if one failed or the request was refused. Ctrl-C stops the watching, not the jobs.

    Example: rap run ~/studies/asthma run_all --branch main
    """
    from temporalio.client import Client

    from cli.connection import ask
    from cli.operations.requests import create, created, request_of
    from cli.rap_jobs import Job, exit_code, follow_on_terminal
    from rap.git import git_cache
    from rap.messages.workspaces import CreateAnswer, CreateOutcome
    from rap.models import CreateRequest

    settings = environment.enter(data)
    slug = environment.backend_of(backend, settings)
    out = messages(as_json=as_json)
    records = environment.open_records()

    # Nothing is looked up for a request that nobody is there to take.
    async def submit(client: Client) -> tuple[CreateRequest, CreateAnswer]:
        request = await request_of(
            git_cache(settings),
            repository,
            actions,
            backend=slug,
            workspace=workspace,
            commit=commit,
            branch=branch,
            database=database,
            force_run_dependencies=force_run_dependencies,
        )
        return request, await create(client, request)

    try:
        with patience(out, "Waiting for the controller …"):
            request, answer = ask(submit)
    except KeyboardInterrupt:
        say(out, "Stopped before an answer came; `rap status` shows whether a RAP was made.")
        raise
    jobs: list[Job] = []
    code = 0
    if answer.outcome is CreateOutcome.NOTHING_TO_DO:
        say(out, answer.details)
    elif answer.outcome in (CreateOutcome.CREATED, CreateOutcome.NO_CHANGE):
        # As other commands see it, and before it is followed: it may belong to another system.
        say(out, created(request, records))
        jobs = follow_on_terminal(records, [request.rap_id], data=data, as_json=as_json)
        code = exit_code(jobs)
    else:
        say(stderr(), answer.details or f"Refused: {answer.outcome.value}")
        code = 1
    if as_json:
        print_json(
            {
                "rap_id": request.rap_id,
                "outcome": answer.outcome.value,
                "details": answer.details,
                "count": answer.count,
                "request": request.model_dump(mode="json", exclude={"budget", "number"}),
                "jobs": jobs,
            }
        )
    raise typer.Exit(code)
