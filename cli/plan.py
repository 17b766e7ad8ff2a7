"""``rap plan``: what a request would run, and why; nothing is run or stored."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from cli import environment
from cli.console import patience, reply, say, stderr
from cli.options import Actions, Branch, Commit, Data, Force, Json, Repository, RunOn, Workspace


class GraphFormat(StrEnum):
    """Languages in which graphs are drawn."""

    MERMAID = "mermaid"
    DOT = "dot"


def plan(
    *,
    repository: Repository,
    actions: Actions,
    backend: RunOn = None,
    workspace: Workspace = "test",
    commit: Commit = None,
    branch: Branch = "main",
    force_run_dependencies: Force = False,
    graph: Annotated[
        GraphFormat | None, typer.Option(help="Draw the actions instead of listing them.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show what `rap run` would run, and why each action would or would not; nothing is run.

    What the workspace has run before counts if Temporal answers. Ends with 1 if the request would
    be refused.

    Example: rap plan ~/studies/asthma make_table --graph mermaid
    """
    from cli.operations.outlook import Outlook, draw, lines, look_ahead
    from cli.operations.requests import request_of
    from rap.git import git_cache
    from rap.settings import ControllerSettings, load

    environment.enter(data)
    settings = load(ControllerSettings)
    slug = environment.backend_of(backend, settings)
    git = git_cache(settings)

    async def look() -> Outlook:
        request = await request_of(
            git,
            repository,
            actions,
            backend=slug,
            workspace=workspace,
            commit=commit,
            branch=branch,
            force_run_dependencies=force_run_dependencies,
        )
        return await look_ahead(request, git, settings)

    with patience(stderr(), "Reading the repository …"):
        outlook = asyncio.run(look())
    document = outlook.model_dump(mode="json", exclude={"request": {"budget", "number"}})
    refusal = outlook.refusal
    if refusal is not None and not as_json:
        say(stderr(), refusal.message)
    elif graph is not None:
        reply(document, [draw(outlook.explanations, graph)], as_json=as_json)
    else:
        reply(document, lines(outlook), as_json=as_json)
    if refusal is not None:
        raise typer.Exit(1)
