"""``rap agent export-crate``: a RAP or a workspace as a research object."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.agent import place as agent_place
from cli.agent.place import Data
from cli.console import counted, live, messages, patience, print_json, printable, say
from cli.options import Json

if TYPE_CHECKING:
    from worker_agent.crate.export import Exported
    from worker_agent.crate.payload import LeftOut


def export_crate(
    *,
    what: Annotated[
        str, typer.Argument(metavar="RAP|WORKSPACE", help="Id of a RAP, or name of a workspace.")
    ],
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where to: empty, or not there yet.")
    ],
    level4: Annotated[
        bool,
        typer.Option("--level4", help="For reviewers: whole files are those that level 4 shows."),
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="For people inside: all files whole; must not leave.")
    ] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write a RAP, or what makes up a workspace now, as a research object: a bag with its files,
    where each comes from, and what was checked.

    It is a Five Safes RO-Crate with a Provenance Run Crate in it. One of --level4 and --all must be
    given. Of a file that stays there is hash and size. Whether the folder goes anywhere is the
    reviewers' decision.

    Example: rap agent export-crate asthma /tmp/asthma-crate --level4
    """
    if level4 == everything:
        raise typer.BadParameter("give one of --level4 and --all")
    place = agent_place.enter(data)
    out = messages(as_json=as_json)
    with patience(out, "Reading the records of the jobs …"):
        from worker_agent.crate.contents import Audience
        from worker_agent.crate.export import export

    audience = Audience.REVIEWERS if level4 else Audience.INSIDE
    with patience(out, "Copying and hashing the files of the crate …"), live(out) as update:

        def progress(done: int, of: int) -> None:
            if update is not None:
                update(f"{done} of {counted(of, 'file')} copied")

        made = export(place.settings, what, audience, folder, progress)
    for job_id in made.without_record:
        say(out, f"Job {job_id} has no record of provenance; the crate says nothing of it.")
    for file in made.left_out:
        say(out, _sentence(file))
    whole = len(made.contents.whole)
    say(
        out,
        f"{made.folder}: {counted(len(made.contents.jobs), 'job')}, {counted(whole, 'file')} "
        f"whole, {len(made.contents.parts) - whole} by hash.",
    )
    if as_json:
        print_json(_document(made))


def _sentence(file: LeftOut) -> str:
    from worker_agent.crate.contents import Stays

    name = printable(file.name)
    if file.found is None:
        return f"{name} is not in the workspace any more; the crate has its hash ({file.filed})."
    if file.stays is Stays.REPLACED:
        return f"{name} was made again by another job meanwhile; the crate has the earlier hash."
    return (
        f"{name} was changed since its job filed it, so the crate has its hash alone: filed "
        f"{file.filed}, found {file.found}."
    )


def _document(made: Exported) -> dict[str, object]:
    whole = len(made.contents.whole)
    return {
        "folder": str(made.folder),
        "identifier": made.identifier,
        "jobs": [job.record.job_id for job in made.contents.jobs],
        "whole": whole,
        "by_hash": len(made.contents.parts) - whole,
        "without_record": list(made.without_record),
        "left_out": [
            {"name": each.name, "why": each.stays.value, "filed": each.filed, "found": each.found}
            for each in made.left_out
        ],
    }
