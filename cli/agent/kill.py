"""``rap agent kill``: end jobs on this host, whoever started them (docs/spec/agent.md 15.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from cli import prompts
from cli.agent import place as agent_place
from cli.agent.place import Data, Yes
from cli.console import patience, say, stderr, stdout
from rap.errors import RapError

if TYPE_CHECKING:
    from worker_agent.operations.place import Place


def kill(
    *,
    jobs: Annotated[
        list[str], typer.Argument(metavar="JOB", help="Ids of running jobs, or parts of them.")
    ],
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Kill the containers of jobs; the jobs end as killed by an administrator.

    Their logs are filed, their outputs are not. What is named only in part is asked about first.
    It works while the agent is down, too: readers see it once the agent is back.

    Example: rap agent kill k3v7 --yes
    """
    place = agent_place.enter(data)
    with agent_place.explained():
        missing = asyncio.run(_choose_and_kill(place, jobs, yes=yes))
    if missing:
        raise typer.Exit(1)


async def _choose_and_kill(place: Place, parts: Sequence[str], *, yes: bool) -> bool:
    """Kill the jobs that are meant; whether one was not found, or nothing was to be killed."""
    from worker_agent.operations.kill import kill

    attempts = place.attempts()
    out, err = stdout(), stderr()
    running = await place.running()
    chosen: list[str] = []
    missing, must_ask = False, False
    for part in parts:
        try:
            job_id = agent_place.choose(out, part, running, "running tasks", ask=not yes)
        except RapError as error:
            say(err, str(error))
            missing = True
            continue
        chosen.append(job_id)
        must_ask |= part != job_id
    chosen = list(dict.fromkeys(chosen))
    if chosen and must_ask and not yes:
        say(out, "About to kill tasks for jobs:")
        for job_id in chosen:
            labels = running[job_id].image_labels
            say(out, f"  {job_id}  ({labels.get('workspace')}: {labels.get('action')})")
        say(out, "")
        if prompts.answer(out, "Enter to continue, Ctrl-C to quit "):
            say(err, "Nothing was killed.")
            return True
    for job_id in chosen:
        with patience(err, f"Waiting for the container of job {job_id} to end …"):
            killed = await kill(place, attempts, job_id)
        if killed:
            say(out, f"Task for job {job_id} killed.")
        else:
            say(
                out,
                f"Cannot kill task for job {job_id}, associated container does not exist. "
                "The job may have completed.",
            )
    if chosen and not place.agent_runs():
        say(
            err,
            "The agent does not run: once it does, it files the logs, and readers see the jobs as "
            "killed by an administrator.",
        )
    return missing
