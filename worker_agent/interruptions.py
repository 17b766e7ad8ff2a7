"""Whether a program ended by itself, or what it ran on went away beneath it.

What the program runs on is noted before it starts: the host by its boot id, the run of the engine,
the folder that is its volume. At the end it is looked at again. An exit code is no evidence: an
engine that stops lets programs end in their own way, and one that is started again stops what is
left over from before.
"""

import asyncio
from contextlib import suppress
from pathlib import Path

import structlog

from rap.egress import Interruption
from rap.errors import JobFault
from rap.models import JobDefinition
from worker_agent.engine.facts import ContainerFacts, EngineRun
from worker_agent.host import Host
from worker_agent.state.attempts import key_of
from worker_agent.state.runs import Ground, RunRecord
from worker_agent.workspace.cleanup import remove_volume

log = structlog.get_logger()

LOST_EXIT = 255
"""What the engine calls an exit code that it could not learn."""


class Interrupted(Exception):
    """The program of an attempt was taken away: the attempt is over."""

    def __init__(self, by: Interruption) -> None:
        super().__init__(by.value)
        self.by = by


async def ground_of(host: Host, definition: JobDefinition) -> Ground:
    """What a program of this attempt runs on now; ENGINE_UNAVAILABLE while the engine is away.

    An engine that was told to stop is away already: see :meth:`System.run`.
    """
    return Ground(
        boot_id=host.settings.boot_id_file.read_text().strip(),
        engine=await host.engine.system.run(),
        volume=await asyncio.to_thread(_identity, host.storage.volume(definition.attempt_name)),
    )


async def adopt(host: Host, definition: JobDefinition, container: ContainerFacts) -> None:
    """Take over a program that runs, from an agent before this one.

    It may have outlived an engine, or, on an engine elsewhere, this host: then what it runs on from
    now on is what counts.
    """
    key = key_of(definition.id, definition.task_id)
    now = await ground_of(host, definition)
    # Only what is seen to run after the ground was looked at runs on that ground.
    again = await host.engine.containers.inspect(definition.id)
    if again is None or again.id != container.id or not again.running:
        return
    record = host.runs.read(key, container.id)
    volume = record.ground.volume if record.ground else now.volume
    ground = now.model_copy(update={"volume": volume})
    if ground != record.ground:
        host.runs.write(key, record.model_copy(update={"ground": ground}), durable=True)


async def make_sure_of_end(host: Host, definition: JobDefinition, ended: ContainerFacts) -> None:
    """Go on only if a program has ended by itself.

    Once that is sure it stays so while the host runs: an engine that goes away later takes nothing
    from it. After a start of the host the files may not be what the program left: the last ones are
    lost with the power.

    Raises:
        Interrupted: something took it away.
        TransientFault: ENGINE_UNAVAILABLE, so that nobody knows yet.
    """
    key = key_of(definition.id, definition.task_id)
    record, now = host.runs.read(key, ended.id), await ground_of(host, definition)
    by = what_went(record.ground, now)
    if by is Interruption.ENGINE_RESTARTED and (
        record.ended_by_itself or await _outlived_the_engine(host, ended)
    ):
        by = None
    if by is None and not record.ended_by_itself and _is_unknown(record, now.engine):
        by = await _by_its_exit(host, ended)
    if by is not None:
        raise Interrupted(by)
    is_ours = record.ground is None or record.ground.volume in (None, now.volume)
    if not is_ours and record.disk_fault is None:
        raise Interrupted(Interruption.VOLUME_GONE)
    if not record.ended_by_itself:
        with suppress(JobFault):  # a full disk: then it is not known to the next who asks
            host.runs.write(key, record.model_copy(update={"ended_by_itself": True}))


async def make_sure_that_none_ran(host: Host, definition: JobDefinition) -> None:
    """Where an attempt has no container: go on only if it never had one.

    Raises:
        Interrupted: it had one, whose program may have run.
        TransientFault: ENGINE_UNAVAILABLE.
    """
    record = host.runs.latest(key_of(definition.id, definition.task_id))
    if record is not None:
        by = what_went(record.ground, await ground_of(host, definition))
        raise Interrupted(by or Interruption.CONTAINER_REMOVED)


async def forget_start(host: Host, definition: JobDefinition) -> None:
    """Where a container was never started, by what the engine says: make another start possible.

    If it is on record, its start was asked for. An engine that went away meanwhile may have started
    the program and not have noted it; with one that is still there it may come about just now. So
    the volume counts as used.

    Raises:
        Interrupted: the engine that was asked to start it is gone.
        TransientFault: ENGINE_UNAVAILABLE.
    """
    key = key_of(definition.id, definition.task_id)
    record = host.runs.latest(key)
    if record is None:
        return
    if (by := what_went(record.ground, await ground_of(host, definition))) is not None:
        raise Interrupted(by)
    await asyncio.to_thread(remove_volume, host.storage, definition.attempt_name)
    host.runs.forget(key)


def what_went(before: Ground | None, now: Ground) -> Interruption | None:
    """Which of host and engine was started again, the one that takes the other along first."""
    if before is None:
        return None
    if before.boot_id != now.boot_id:
        return Interruption.HOST_REBOOTED
    if now.engine.is_other(before.engine):
        return Interruption.ENGINE_RESTARTED
    return None


def _is_unknown(record: RunRecord, engine: EngineRun) -> bool:
    return record.ground is None or engine.is_other(record.ground.engine) is None


async def _outlived_the_engine(host: Host, ended: ContainerFacts) -> bool:
    """Whether programs go on while the engine is away (``live-restore``), and this one's end was
    not lost meanwhile.
    """
    return ended.exit_code != LOST_EXIT and (await host.engine.system.state()).live_restore


async def _by_its_exit(host: Host, ended: ContainerFacts) -> Interruption | None:
    """Where runs of the engine cannot be told apart: an end that the engine has not seen itself."""
    if ended.exit_code != LOST_EXIT or (await host.engine.containers.end_of(ended)).ended:
        return None
    return Interruption.ENGINE_RESTARTED


def _identity(folder: Path) -> str | None:
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return None
    return f"{found.st_dev}:{found.st_ino}"
