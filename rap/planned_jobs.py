"""The planned jobs of one request, as they travel: what they share is sent once."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from rap.models import JobSpec, Model, Refusal

_OF_A_REQUEST = frozenset(
    (
        *("rap_id", "backend", "workspace", "study", "database_name", "user", "project", "orgs"),
        *("analysis_scope", "created_at"),
    )
)
"""What the planned jobs of one request have from it, and so in common."""


def _shared_once(jobs: tuple[JobSpec, ...]) -> dict[str, Any]:
    """Jobs as they travel: what most of them share, and of each what it has of its own."""
    dumped = [job.model_dump(mode="json", exclude_defaults=True) for job in jobs]
    shared: dict[str, Any] = {}
    for job in dumped:
        for name in _OF_A_REQUEST & job.keys():
            shared.setdefault(name, job[name])
    # A job that leaves out what others share has its default instead, and says so.
    defaults = {name: JobSpec.model_fields[name] for name in shared}
    own = []
    for job in dumped:
        different = {name: value for name, value in job.items() if shared.get(name) != value}
        for name in sorted(shared.keys() - job.keys()):
            different[name] = defaults[name].get_default(call_default_factory=True)
        own.append(different)
    return {"shared": shared, "jobs": own}


def _each_whole(value: object) -> object:
    """Jobs as they are used, from what :func:`_shared_once` made of them."""
    if not isinstance(value, Mapping):
        return value
    return tuple({**value["shared"], **job} for job in value["jobs"])


PlannedJobs = Annotated[
    tuple[JobSpec, ...],
    BeforeValidator(_each_whole),
    PlainSerializer(_shared_once, return_type=dict[str, Any]),
]
"""The jobs of one request; what they share travels once."""


class ResolveRequest(Model):
    """The new jobs of a request, whose reusable actions are to be resolved
    (docs/spec/controller.md 7).
    """

    jobs: PlannedJobs


class ResolveAnswer(Model):
    """The jobs with their commands rewritten, or why one of them cannot run."""

    jobs: PlannedJobs = ()
    refusal: Refusal | None = None
