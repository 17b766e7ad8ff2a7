"""Which job a person means by a part of its id (agent.md 15.1). Pure."""

from collections.abc import Collection

from rap.ids import container_name


def matching(part: str, job_ids: Collection[str]) -> list[str]:
    """The jobs whose container's name holds this text, in the order given.

    A full id, or the full name of a container, means that job alone, even where another id
    contains it.
    """
    exact = [job for job in job_ids if part in (job, container_name(job))]
    return exact or [job for job in job_ids if part in container_name(job)]


def is_exact(part: str, job_id: str) -> bool:
    """Whether a person named this very job, so that nobody needs to ask again."""
    return part == job_id
