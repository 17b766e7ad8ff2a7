"""Killing a job on its host, so that everybody knows who did it (agent.md 15.1).

The agent may be running or not. So the order is noted in the work directory before the container
is killed: whoever finds the container dead, now or after a restart, ends the attempt as killed by
an administrator. Container and volume are left to the agent, which first files the log.
"""

from enum import StrEnum

from rap.errors import JobFault, Unavailable
from worker_agent.engine.facts import ContainerFacts
from worker_agent.notes import Notes, key_of
from worker_agent.operations.place import Place


class Killed(StrEnum):
    """What became of an order to kill."""

    DONE = "done"
    VANISHED = "vanished"
    """No container of the job runs (any more): nothing was done."""


async def kill(place: Place, notes: Notes, job_id: str) -> Killed:
    """Kill the running container of a job and wait until it runs no more.

    Args:
        place: the host.
        notes: of this host, to be written to.
        job_id: the whole id.

    Raises:
        Unavailable: Docker failed half-way; the order is noted and will be carried out.
        JobFault: Docker does not answer; nothing was done.
    """
    container = await place.engine.inspect(job_id)
    if container is None or not container.running:
        return Killed.VANISHED
    notes.mark_killed(_key(notes, job_id, container))
    try:
        await place.engine.kill(container.id)
        await place.engine.wait(job_id)
    except JobFault as fault:
        raise Unavailable(
            f"Docker failed while job {job_id} was being killed. The order is noted: the agent "
            "carries it out when Docker answers again."
        ) from fault
    return Killed.DONE


def _key(notes: Notes, job_id: str, container: ContainerFacts) -> str:
    """What the notes about the attempt that runs in a container are filed under."""
    owner = notes.owner(job_id)
    return key_of(job_id, container.task_id or (owner.task_id if owner else ""))
