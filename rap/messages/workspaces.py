"""What the API and the command line say to workspaces, and workspaces and RAPs to each other."""

from enum import StrEnum

from pydantic import Field

from rap.models import JobLimits, JobSpec, Model
from rap.rows import IntentState
from rap.status import State


class CreateOutcome(StrEnum):
    """What became of a create request (rap-api.md A6.2)."""

    CREATED = "created"
    NO_CHANGE = "no_change"
    INCONSISTENT = "inconsistent"
    NOTHING_TO_DO = "nothing_to_do"
    REFUSED = "refused"


class CreateAnswer(Model):
    """The answer to a create request."""

    outcome: CreateOutcome
    count: int = 0
    details: str = ""


class CancelRequest(Model):
    """Cancel some actions of a RAP (rap-api.md A7)."""

    rap_id: str
    actions: tuple[str, ...]
    at: float
    """When the client asked; becomes ``completed_at`` of the cancelled jobs."""
    by: str = ""


class CancelAnswer(Model):
    """How many jobs the cancel reached; the rest of its answer is known to the API already."""

    cancelled: int


class SettleRequest(Model):
    """Ask what became of a create whose answer was lost.

    If no RAP came of it, the id is refused for every create asked for up to that moment, so that
    a late arrival cannot make one after all; a new create is judged afresh.
    """

    rap_id: str
    at: float


class SettleAnswer(Model):
    """What became of it."""

    state: IntentState


class KnownJob(Model):
    """A job of a workspace that was not cancelled."""

    job_id: str
    rap_id: str
    state: State


class KnownRap(Model):
    """A RAP that a workspace remembers, to answer a repeated create."""

    rap_id: str
    repo_url: str
    commit: str
    count: int
    created_at: float
    done: bool = False


class WorkspaceStart(Model):
    """The argument of a ``WorkspaceWorkflow``; with its state when it continues as new."""

    backend: str
    workspace: str
    jobs: dict[str, tuple[KnownJob, ...]] = Field(default_factory=dict)
    """Action to its uncancelled jobs, oldest first; the last one is the current job."""
    raps: tuple[KnownRap, ...] = ()
    waiting: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Job id to the RAPs that wait for it."""
    refused: dict[str, float] = Field(default_factory=dict)
    """RAP id to the moment up to which its creates are refused."""
    recovering: bool = False
    """Set where the workflow is started again after it was lost: it has others to tell."""
    news: dict[str, dict[str, State]] = Field(default_factory=dict)
    """In what was recovered: RAP to the ends of the jobs that it may still wait for."""


class RapLost(Model):
    """A RAP's workflow was terminated; its jobs will not go on."""

    rap_id: str
    job_ids: tuple[str, ...] = ()
    """Its unfinished jobs by the read model, for a workspace that has forgotten it."""


class RapStart(Model):
    """The argument of a ``RapWorkflow``."""

    rap_id: str
    backend: str
    workspace: str
    jobs: tuple[JobSpec, ...]
    """Dependencies before the jobs that need them."""
    limits: JobLimits = JobLimits()
    image_registry: str
    pins_images: bool = False
    job_env: dict[str, str] = Field(default_factory=dict)
    awaited: dict[str, State] = Field(default_factory=dict)
    """Last known state of the awaited jobs of other RAPs."""
    tells_status: bool = False
    """Whether its end is told in the search attribute ``StatusCode``; not if it started before."""


class CancelOrder(Model):
    """Tell a RAP to cancel some of its jobs."""

    job_ids: tuple[str, ...]
    at: float
    by: str = ""


class JobsFinished(Model):
    """A RAP tells the workspace, and the workspace the RAPs that wait."""

    rap_id: str
    states: dict[str, State]
    """Job id to final state."""
    rap_done: bool = False
    """Set in the last notice of a RAP."""
