"""``rap agent kill``: end jobs on this host, whoever started them (agent.md 15.1)."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rap.cli import agent_place, show
from rap.errors import RapError
from worker_agent.notes import Notes
from worker_agent.operations.choosing import is_exact
from worker_agent.operations.kill import Killed, kill
from worker_agent.operations.place import Place

_WHAT = "running tasks"


def command(parts: Sequence[str], *, yes: bool, data: Path | None) -> int:
    """Carry out ``rap agent kill``; its exit code."""
    place = agent_place.enter(data)
    notes = place.notes()
    with agent_place.explained():
        return asyncio.run(_choose_and_kill(place, notes, parts, yes=yes))


async def _choose_and_kill(place: Place, notes: Notes, parts: Sequence[str], *, yes: bool) -> int:
    out, err = show.console(), show.console(errors=True)
    running = await place.running()
    chosen: list[str] = []
    missing, must_ask = False, False
    for part in parts:
        try:
            job_id = agent_place.choose(out, part, running, _WHAT, ask=not yes)
        except RapError as error:
            show.say(err, str(error))
            missing = True
            continue
        chosen.append(job_id)
        must_ask |= not is_exact(part, job_id)
    chosen = list(dict.fromkeys(chosen))
    if chosen and must_ask and not yes:
        show.say(out, "About to kill tasks for jobs:")
        for job_id in chosen:
            labels = running[job_id].image_labels
            show.say(out, f"  {job_id}  ({labels.get('workspace')}: {labels.get('action')})")
        show.say(out, "")
        if agent_place.prompt(out, "Enter to continue, Ctrl-C to quit "):
            show.say(err, "Nothing was killed.")
            return 1
    for job_id in chosen:
        with show.patience(err, f"Waiting for the container of job {job_id} to end …"):
            done = await kill(place, notes, job_id)
        if done is Killed.DONE:
            show.say(out, f"Task for job {job_id} killed.")
        else:
            show.say(
                out,
                f"Cannot kill task for job {job_id}, associated container does not exist. "
                "The job may have completed.",
            )
    if chosen and not place.agent_runs():
        show.say(
            err,
            "The agent does not run: once it does, it files the logs, and readers see the jobs as "
            "killed by an administrator.",
        )
    return int(missing)
