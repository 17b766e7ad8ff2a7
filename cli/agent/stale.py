"""``rap agent stale``: which outputs no longer follow from the newest code and inputs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from cli.agent import place as agent_place
from cli.agent.place import Data
from cli.console import counted, patience, plain_table, printable, reply, say, stderr
from cli.options import Json

if TYPE_CHECKING:
    from rich.console import RenderableType

    from worker_agent.operations.stale import Staleness
    from worker_agent.operations.staleness import ActionState, Reason

IS_STALE = 3
"""The exit code if outputs are stale, so that a script can tell that from a failure."""

_SHORT = 12


def stale(
    *,
    workspace: Annotated[str, typer.Argument(metavar="WORKSPACE", help="Name of the workspace.")],
    branch: Annotated[
        str | None,
        typer.Option(help="Branch with the newest commit. Default: that of the newest job."),
    ] = None,
    repo: Annotated[
        str | None, typer.Option(help="The study's repository. Default: that of the newest job.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show which outputs no longer follow from the newest commit and inputs, and why.

    It compares what each action's last succeeded job has on record. Neither runs anything nor
    changes what a request would run. Ends with 3 if outputs are stale.

    Example: rap agent stale asthma
    """
    from rap.git.cache import git_cache
    from worker_agent.operations.stale import look

    place = agent_place.enter(data)
    git = git_cache(place.settings, backend=place.settings.backend)
    with patience(stderr(), "Reading the records, the files and the repository …"):
        found = asyncio.run(look(place, git, workspace, repo=repo, branch=branch))
    for note in found.notes:
        say(stderr(), note)
    reply(
        {**found.model_dump(mode="json"), "stale": found.is_stale}, _shown(found), as_json=as_json
    )
    if found.is_stale:
        raise typer.Exit(IS_STALE)


def _shown(found: Staleness) -> list[RenderableType]:
    from rich.text import Text

    from worker_agent.operations.staleness import Verdict

    colours = {
        Verdict.CURRENT: "green",
        Verdict.STALE: "red",
        Verdict.PERHAPS: "yellow",
        Verdict.UNKNOWN: "dim",
    }
    table = plain_table("action", "verdict", "outputs", "job", "why", folded=["why"])
    for state in found.actions:
        table.add_row(
            printable(state.action),
            Text(state.verdict.value, colours[state.verdict]),
            counted(len(state.outputs), "file"),
            state.job_id,
            printable(_why(state)),
        )
    where = f"{found.workspace}: compared with {found.branch} of {found.repo}"
    return [f"{where} at {found.commit[:_SHORT]}", table]


def _why(state: ActionState) -> str:
    return "; ".join(_sentence(reason) for reason in state.reasons)


def _sentence(reason: Reason) -> str:
    from worker_agent.operations.staleness import Why

    names = ", ".join(reason.names)
    if (more := reason.count - len(reason.names)) > 0:
        names += f" and {more} more"
    return {
        Why.ACTION_GONE: "the project has no such action any more",
        Why.COMMAND_CHANGED: "its command changed",
        Why.OUTPUTS_CHANGED: "its outputs or their levels changed",
        Why.NEEDS_CHANGED: "it needs other actions",
        Why.CODE_CHANGED: f"its code changed: {names}",
        Why.CODE_ELSEWHERE_CHANGED: f"other code changed, which it may use: {names}",
        Why.CODE_NOT_COMPARED: "its code cannot be compared: the commit cannot be had any more",
        Why.IMAGE_NEWER: f"{names} is another image now",
        Why.INPUT_MADE_AGAIN: f"input made again since: {names}",
        Why.INPUT_REPLACED: f"input changed or gone: {names}",
        Why.INPUT_STALE: f"needs what is stale: {names}",
        Why.OUTPUT_REPLACED: f"not as its job filed it: {names}",
        Why.NO_RECORD: "its job has no record of provenance",
    }[reason.why]
