"""What a program wrote, fetched from the engine once it has ended.

An engine may be unable to read what it kept: the file of its log driver is damaged, and some
engines even die of it. Then the job ends all the same, for its own reason, with what could be read.
"""

import os
from pathlib import Path

import structlog

from rap.egress import Fault
from rap.errors import TransientFault
from worker_agent.atomic_files import write_all
from worker_agent.engine.facts import ContainerFacts, EngineRun
from worker_agent.host import Host

log = structlog.get_logger()

TRIES = 3
"""How often an engine that answers may fail to read a log before the log is given up."""

LOST = (
    "[the container engine of the backend cannot read the rest of this log: "
    "what the program wrote there is lost]\n"
)


PERHAPS_LOST = (
    "[the container engine of the backend failed while it read this log: lines may be missing]\n"
)


async def fetch(host: Host, container: ContainerFacts, into: Path) -> None:
    """Write the log of an ended container to a file, or as much of it as there is to be had.

    Failures are counted beside the file, so that a new agent does not begin to count again.

    Raises:
        TransientFault: ENGINE_UNAVAILABLE, to be tried again; DISK_FULL.
    """
    # An engine that is away for another reason, or for long, is no fault of this log.
    before = await host.engine.system.run()
    failures = _counter(into)
    try:
        await host.engine.containers.logs(container.id, into)
        await _make_sure_it_lived(host, before)
    except TransientFault as fault:
        if fault.fault is not Fault.ENGINE_UNAVAILABLE:
            raise
        if _added(failures, b".") < TRIES:
            raise
        log.exception("the log of a program is given up: the engine cannot read it")
        _add_line(into, LOST)
    else:
        if failures.exists():
            _add_line(into, PERHAPS_LOST)


async def _make_sure_it_lived(host: Host, before: EngineRun) -> None:
    """An engine that dies of a log may have ended it in good order just before."""
    if (await host.engine.system.run()).is_other(before):
        raise TransientFault(Fault.ENGINE_UNAVAILABLE, "docker went away while it read a log")


def _add_line(into: Path, line: str) -> None:
    if _added(into, b"") > 0:
        _added(into, b"\n")
    _added(into, line.encode())


def _added(path: Path, text: bytes) -> int:
    """Add to the end of a file that only we may read; its size."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        write_all(descriptor, text)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def forget(into: Path) -> None:
    """The job is over."""
    into.unlink(missing_ok=True)
    _counter(into).unlink(missing_ok=True)


def _counter(into: Path) -> Path:
    return into.with_name(f"{into.name}.failures")
