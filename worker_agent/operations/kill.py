"""Killing a job on its host, so that everybody knows who did it (docs/spec/agent.md 15.1).

The agent may be running or not. So the order is noted in the work directory before the container
is killed: whoever finds the container dead, now or after a restart, ends the attempt as killed by
an administrator. Container and volume are left to the agent, which first keeps the log.
"""

from rap.errors import JobFault, Unavailable
from worker_agent.engine.facts import ContainerFacts
from worker_agent.operations.place import Place
from worker_agent.state.attempts import AttemptState, key_of


async def kill(place: Place, attempts: AttemptState, job_id: str) -> bool:
    """Kill the running container of a job and wait until it runs no more; ``False`` if none runs.

    Raises:
        Unavailable: Docker failed half-way; the order is kept and will be carried out.
        JobFault: Docker does not answer; nothing was done.
    """
    container = await place.engine.containers.inspect(job_id)
    if container is None or not container.running:
        return False
    attempts.mark_killed(_key(attempts, job_id, container))
    try:
        await place.engine.containers.kill(container.id)
        await place.engine.containers.wait(job_id)
    except JobFault as fault:
        raise Unavailable(
            f"Docker failed while job {job_id} was being killed. The order is noted: the agent "
            "carries it out when Docker answers again."
        ) from fault
    return True


def _key(attempts: AttemptState, job_id: str, container: ContainerFacts) -> str:
    """The key of the attempt that runs in a container."""
    owner = attempts.owner(job_id)
    return key_of(job_id, container.task_id or (owner.task_id if owner else ""))
