"""``rap agent provenance``: where a file came from, back to the dataset definition."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from cli.agent import place as agent_place
from cli.agent.place import Data
from cli.console import patience, printable, reply, say, stderr
from cli.options import Json
from rap.durations import clock
from rap.errors import RapError

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree

    from worker_agent.operations.lineage import FileNode, JobNode

_SHORT = 12
"""Digits of a hash or commit: enough to tell it apart. All of them are in the document."""


def provenance(
    *,
    of: Annotated[
        str,
        typer.Argument(
            metavar="FILE|JOB",
            help="WORKSPACE/path, a path of either privacy side, or the beginning of a job's id.",
        ),
    ],
    workspace: Annotated[
        str | None, typer.Option(metavar="WORKSPACE", help="Where FILE is, if it does not say so.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show where a file came from: jobs, code, images and inputs, back to the dataset definition.

    Compares each file with what lies in the workspace now. Changes nothing. What it shows names
    files, people and permissions: it must not leave this host.

    Example: rap agent provenance asthma/output/table.csv
    """
    from worker_agent.operations import provenance as operations

    place = agent_place.enter(data)
    with patience(stderr(), "Reading the records and the files …"):
        try:
            target = operations.target_of(place, of, workspace=workspace)
            answer = operations.trace(place, target)
        except PermissionError as error:
            raise RapError(
                f"This user may not read {error.filename}: run this as the agent's user."
            ) from None
    for note in answer.notes:
        say(stderr(), note)
    reply(answer.model_dump(mode="json"), [tree(answer.about)], as_json=as_json)


def tree(about: FileNode | JobNode) -> Tree:
    """The answer for people."""
    from rich.tree import Tree

    from worker_agent.operations.lineage import FileNode

    if isinstance(about, FileNode):
        root = Tree(_file_line(about))
        _add_maker(root, about)
        return root
    root = Tree(_job_line(about))
    if about.outputs:
        outputs = root.add(_text("filed"))
        for file in about.outputs:
            _add_maker(outputs.add(_file_line(file)), file)
    _add_facts(root, about)
    return root


def _add_maker(branch: Tree, file: FileNode) -> None:
    if file.job is not None:
        _add_facts(branch.add(_job_line(file.job)), file.job)


def _add_facts(branch: Tree, job: JobNode) -> None:
    for line in _facts(job):
        branch.add(_text(line))
    for file in job.inputs:
        _add_maker(branch.add(_file_line(file)), file)


def _facts(job: JobNode) -> Iterator[str]:
    from worker_agent.operations.lineage import Recording

    if job.recording is not Recording.RECORDED or job.is_shown_elsewhere:
        return
    yield f"code      {job.repo} {job.branch} {job.commit[:_SHORT]}"
    if job.action_repo and job.action_repo != job.repo:
        yield f"action    {job.action_repo} {job.action_commit[:_SHORT]}"
    yield f"image     {job.image} {_short(job.image_digest or job.image_id)}"
    yield f"command   {shlex.join(job.args)}"
    if job.database_name is not None:
        permissions = f", permissions {', '.join(job.permissions)}" if job.permissions else ""
        yield f"database  {job.database_name}{permissions}"
    if job.dataset_definition is not None:
        yield f"dataset   {job.dataset_definition} of that commit"
    yield f"for       {job.user or 'unknown'}, project {job.project or 'unknown'}, RAP {job.rap_id}"


def _job_line(job: JobNode) -> Text:
    from rich.text import Text

    from worker_agent.operations.lineage import Recording

    line = Text(printable(job.action or "job"), "bold")
    line.append(f"  job {job.job_id}", "not bold")
    if job.recording is Recording.MISSING:
        line.append("  there is no record of it", "not bold yellow")
    elif job.recording is Recording.EARLIER:
        told = "  it has no record of provenance: what it read is not known"
        line.append(told, "not bold yellow")
    elif job.is_shown_elsewhere:
        line.append("  as above", "not bold dim")
    elif not job.succeeded:
        line.append("  it failed", "not bold red")
    if job.filed_at_ns and not job.is_shown_elsewhere:
        line.append(f"  filed {clock(job.filed_at_ns / 1e9)}", "not bold")
    return line


def _file_line(file: FileNode) -> Text:
    from rich.text import Text

    line = Text(printable(file.name), "cyan")
    if file.level is not None:
        line.append(f"  {file.level.value}", "default")
    if file.excluded:
        line.append(
            f", kept from level 4: {printable(file.reason or 'no reason given')}", "default"
        )
    line.append(f"  {_short(file.sha256)}", "dim")
    if file.is_from_repository:
        line.append("  from the repository: no job made it", "default")
    elif file.is_untouched:
        line.append("  not made by this job", "default")
    for told, style in _standing(file):
        line.append(f"  {told}", style)
    return line


def _standing(file: FileNode) -> Iterator[tuple[str, str]]:
    from worker_agent.operations.lineage import Standing

    match file.standing:
        case Standing.CHANGED:
            yield (
                f"changed by hand since: it was {file.sha256}, it is {file.sha256_now}",
                "bold red",
            )
        case Standing.MADE_AGAIN:
            yield f"made again since, by job {file.made_again_by}", "yellow"
        case Standing.GONE:
            yield "not in the workspace any more", "yellow"
        case Standing.UNVERIFIED:
            yield "not verified: no hash is on record", "yellow"
        case Standing.UNRECORDED:
            yield f"no job is on record that filed it; it is {file.sha256_now}", "yellow"
        case Standing.AS_FILED:
            pass


def _short(sha256: str | None) -> str:
    return "" if sha256 is None else sha256.removeprefix("sha256:")[:_SHORT]


def _text(line: str) -> Text:
    from rich.text import Text

    return Text(printable(line))
