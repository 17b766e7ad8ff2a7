"""A program that failed on a disk that is full, or cannot be written to: not for its own reason."""

import asyncio
from contextlib import suppress

import structlog

from rap.egress import Fault
from rap.errors import JobFault
from rap.models import JobDefinition
from worker_agent.closures import Door
from worker_agent.engine.facts import ContainerFacts
from worker_agent.gatekeeper import disk_trouble
from worker_agent.host import Host
from worker_agent.state.attempts import key_of
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.cleanup import remove_volume
from worker_agent.workspace.job_texts import exit_note

log = structlog.get_logger()


async def failed_on(
    host: Host, definition: JobDefinition, container: ContainerFacts
) -> Fault | None:
    """What was wrong with a disk that a program failed on; ``None``: nothing, or it did not fail.

    What it left is not kept then, and makes room for the record at once. So the answer is noted:
    who asks again finds the disk with room.
    """
    if not container.exit_code or exit_note(AttemptEnd(container=container)) is not None:
        return None
    key = key_of(definition.id, definition.task_id)
    record = host.runs.read(key, container.id)
    trouble = record.disk_fault or await disk_trouble(host)
    if trouble is None:
        return None
    log.error(f"the program failed on a disk in trouble: {trouble}")
    if record.disk_fault is None:
        host.closures.close(Door(trouble))
        with suppress(JobFault, OSError):  # the disk of the notes may be the one in trouble
            host.runs.write(key, record.model_copy(update={"disk_fault": trouble}))
    await asyncio.to_thread(remove_volume, host.storage, definition.attempt_name)
    return trouble
