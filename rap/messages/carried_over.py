"""What a run of a RAP's workflow tells the next one, when it continues as new.

There may be thousands of jobs, so each is told in few words: what is as usual is left out.
"""

from typing import Annotated, Any, Self

from pydantic import Field, PlainSerializer

from rap.models import Model
from rap.rows import JobChange
from rap.status import State


class JobState(Model):
    """How one job stands; its place is that of its specification."""

    attempt: int = 1
    faults: int = 0
    """Attempts that failed for a reason that may pass."""
    interrupted_at: tuple[float, ...] = ()
    """When attempts were interrupted."""
    changed: JobChange | None = None
    """Its last change; ``None``: it was only created."""
    started: JobChange | None = None
    """The change with which its last attempt was started."""
    cancelled_by: str | None = None
    """Who had it cancelled; may be empty. ``None``: nobody has."""
    is_queued: bool = False
    granted: str | None = None
    """The host of the slot that it was granted."""
    holds_slot: bool = False
    is_running: bool = False
    """Whether a workflow of its attempt was started, and its end is not yet known."""
    host: str = ""
    """Where the last attempt was started."""
    image: str = ""
    """The key of its image."""
    is_pinned: bool = False
    image_sha: str | None = None
    """What the tag of its image stands for, if that was asked for this attempt."""
    resume_at: float | None = None
    """When it may ask for a slot again."""

    def without_metrics(self) -> Self:
        """The same, but for what its attempts used."""
        changes = {
            name: change.model_copy(update={"metrics": None})
            for name, change in (("changed", self.changed), ("started", self.started))
            if change is not None
        }
        return self.model_copy(update=changes)


def _without_the_usual(jobs: tuple[JobState, ...]) -> list[dict[str, Any]]:
    return [job.model_dump(mode="json", exclude_defaults=True) for job in jobs]


class RapState(Model):
    """How a RAP stands, and what it has yet to tell others."""

    jobs: Annotated[tuple[JobState, ...], PlainSerializer(_without_the_usual)]
    """In the order of the RAP."""
    is_recorded: bool
    """Whether the rows of its jobs were written."""
    unrecorded: tuple[JobChange, ...] = ()
    finished: dict[str, State] = Field(default_factory=dict)
    """Job id to end, as far as the workspace may not know it yet."""
    owes_slots: bool = False
    """Whether the backend may not know all yet about the slots that the RAP uses and waits for."""
