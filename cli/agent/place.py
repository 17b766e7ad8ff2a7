"""What the commands of ``rap agent`` share: the host they are about, choosing a job, their options.

The host is a :class:`~worker_agent.operations.place.Place`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import environment, prompts
from cli.console import say
from rap.errors import JobFault, RapError, Unavailable

if TYPE_CHECKING:
    from rich.console import Console

    from worker_agent.operations.place import Place

Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Folder of `rap dev`, in development. Default: var/dev, if there is one; on a "
        "backend the agent's own variables say where everything is.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def enter(data: Path | None) -> Place:
    """The host that the environment describes, else the agent of ``rap dev``."""
    from rap.settings import AgentSettings, load
    from worker_agent.operations.place import Place

    environment.enter(data)
    return Place.of(load(AgentSettings))


@contextmanager
def explained() -> Iterator[None]:
    """Turn failures of the engine into sentences for the person at the terminal."""
    from rap.egress import Fault

    try:
        yield
    except JobFault as fault:
        if fault.fault is not Fault.ENGINE_UNAVAILABLE:
            raise
        raise Unavailable(engine_sentence(fault)) from fault


def engine_sentence(fault: JobFault) -> str:
    """Why Docker cannot be used, and what to do about it."""
    if any(isinstance(each, PermissionError) for each in _causes(fault)):
        return (
            "Docker refuses this user. Run this as the agent's user, or as one in the group that "
            "owns Docker's socket (usually `docker`)."
        )
    return (
        f"Docker does not answer ({fault}). Start it with `systemctl start docker`, or name where "
        "it listens with DOCKER_HOST."
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and all that lies behind it; libraries also put causes among the arguments."""
    waiting, seen = [error], set[int]()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        behind = (each.__cause__, each.__context__, *each.args)
        waiting += [other for other in behind if isinstance(other, BaseException)]


def choose(out: Console, part: str, job_ids: Collection[str], what: str, *, ask: bool) -> str:
    """The one job that a person means by a part of its id; asks if there are several.

    ``what`` the candidates are is for sentences: ``running tasks``.
    """
    from worker_agent.operations.place import matching

    found = matching(part, job_ids)
    if not found:
        raise RapError(f"No {what} found matching '{part}'")
    if len(found) == 1:
        return found[0]
    say(out, f"Multiple {what} found matching '{part}':")
    return prompts.pick(out, found, ask=ask)
