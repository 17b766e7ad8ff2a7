"""What the commands of ``rap agent`` share: the host they are about, choosing a job, asking."""

import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from rap.cli import environment, show
from rap.egress import Fault
from rap.errors import JobFault, RapError, Unavailable
from rap.settings import AgentSettings, load
from worker_agent.operations.choosing import matching
from worker_agent.operations.place import Place


def enter(data: Path | None) -> Place:
    """The host that the environment describes, else the agent of ``rap dev``.

    Raises:
        ConfigurationError: a setting is wrong, or the folder is not one of ``rap dev``.
    """
    environment.enter(data)
    return Place.of(load(AgentSettings))


@contextmanager
def explained() -> Iterator[None]:
    """Turn failures of the engine into sentences for the person at the terminal."""
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

    Args:
        out: where questions go.
        part: what was typed.
        job_ids: the candidates.
        what: they are, for sentences: ``running tasks``.
        ask: whether a person is there to answer.

    Raises:
        RapError: none matches, or several and nobody can be asked.
    """
    found = matching(part, job_ids)
    if not found:
        raise RapError(f"No {what} found matching '{part}'")
    if len(found) == 1:
        return found[0]
    show.say(out, f"Multiple {what} found matching '{part}':")
    return pick(out, found, ask=ask)


def pick(out: Console, found: Sequence[str], *, ask: bool = True) -> str:
    """One of several, by the number that a person gives.

    Raises:
        RapError: nobody can be asked, or nobody answers.
    """
    for number, job_id in enumerate(found, 1):
        show.say(out, f"  {number}: {job_id}")
    show.say(out, "")
    if not ask:
        raise RapError("Name one of them in full.")
    while True:
        answer = prompt(out, "Enter number: ").strip()
        if answer.isascii() and answer.isdecimal() and 1 <= int(answer) <= len(found):
            return found[int(answer) - 1]
        show.say(out, f"Enter a number from 1 to {len(found)}.")


def prompt(out: Console, question: str) -> str:
    """Ask, and wait for a line.

    Raises:
        RapError: there is nobody to answer.
    """
    out.print(question, end="", markup=False)
    out.file.flush()
    line = sys.stdin.readline()
    if not line:
        raise RapError("\nNo answer came; nothing was done.")
    return line.rstrip("\n")


def printable(text: str) -> str:
    """A program's own words, without the characters by which it could play with a terminal."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else "\N{REPLACEMENT CHARACTER}"
        for letter in text.replace("\r\n", "\n")
    )
