"""What the API and the command line say to workspaces, and workspaces and RAPs to each other."""

from enum import StrEnum

from pydantic import Field

from rap.messages.carried_over import RapState
from rap.models import INTERRUPTIONS_A_DAY, JobLimits, Model
from rap.planned_jobs import PlannedJobs
from rap.rows import IntentState, JobChange
from rap.status import State, StatusCode


class CreateOutcome(StrEnum):
    """What became of a create request (docs/spec/rap-api.md A6.2)."""

    CREATED = "created"
    NO_CHANGE = "no_change"
    INCONSISTENT = "inconsistent"
    NOTHING_TO_DO = "nothing_to_do"
    REFUSED = "refused"
    NOT_NOW = "not_now"
    """Nothing is decided yet, for a reason that passes: the same request may be sent again."""
    FAILED = "failed"
    """Nothing was created, for a reason that nobody foresaw and that stays."""


class CreateAnswer(Model):
    """The answer to a create request."""

    outcome: CreateOutcome
    count: int = 0
    details: str = ""


class CancelRequest(Model):
    """Cancel some actions of a RAP (docs/spec/rap-api.md A7)."""

    rap_id: str
    actions: tuple[str, ...]
    by: str = ""


class CancelAnswer(Model):
    """How many jobs the cancel reached; the rest of its answer is known to the API already."""

    cancelled: int


class SettleRequest(Model):
    """Give up a create that could not be decided for long, unless a RAP came of it.

    The id is refused for the create of this number and all before it, so that a late arrival cannot
    make a RAP after all; a new create is judged afresh.
    """

    rap_id: str
    number: int


class SettleAnswer(Model):
    """What became of it; ``PENDING`` if the workspace could not tell in time."""

    state: IntentState


class GivenUp(Model):
    """The creates of a RAP that came to nothing for good."""

    number: int
    """The last of them."""
    at: float
    """By the workspace's clock; remembered for a while from then on."""


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
    refused: dict[str, GivenUp] = Field(default_factory=dict)
    """RAP id to its creates that were given up."""
    recovering: bool = False
    """Set where the workflow is started again after it was lost: it has others to tell."""
    news: dict[str, dict[str, State]] = Field(default_factory=dict)
    """In what was recovered: RAP to the ends of the jobs that it may still wait for."""


class RapLost(Model):
    """A RAP's workflow was terminated; its jobs will not go on."""

    rap_id: str
    job_ids: tuple[str, ...] = ()
    """Its unfinished jobs by the read model, for a workspace that has forgotten it."""


class LostRap(Model):
    """Ask how the jobs of a RAP ended whose workflow is gone."""

    rap_id: str
    workspace: str
    wait_s: float
    """Seconds to wait for attempts that are winding down."""


class RapFate(Model):
    """What became of a RAP whose workflow was thought to be gone."""

    is_running: bool = False
    changes: tuple[JobChange, ...] = ()
    """The ends of jobs that readers do not know yet."""


class RapStart(Model):
    """The argument of a ``RapWorkflow``; with its state when it continues as new."""

    rap_id: str
    backend: str
    workspace: str
    jobs: PlannedJobs
    """Dependencies before the jobs that need them."""
    limits: JobLimits = JobLimits()
    image_registry: str
    pins_images: bool = False
    interruptions_a_day: int = INTERRUPTIONS_A_DAY
    job_env: dict[str, str] = Field(default_factory=dict)
    awaited: dict[str, State] = Field(default_factory=dict)
    """Last known state of the awaited jobs of other RAPs."""
    about: str = ""
    """What the Web UI tells of the RAP at its start, which is lost where it continues as new."""
    state: RapState | None = None
    """Set where the workflow continues as new."""
    longest_history: int = 4000
    """Events after which it does, also when the server does not ask for it yet."""


class RapEnd(Model):
    """The end of a ``RapWorkflow``: its result, or in the error with which it failed.

    Of each job, in the order of the RAP: a thousand jobs make ten kilobytes.
    """

    codes: tuple[StatusCode, ...]
    attempts: tuple[int, ...]
    started_at: tuple[int | None, ...]
    """Of the last attempt, whole seconds since the epoch; ``None`` where there was none."""
    ended_at: tuple[int | None, ...]


class CancelOrder(Model):
    """Tell a RAP to cancel some of its jobs."""

    job_ids: tuple[str, ...]
    at: float = 0.0
    """When the workspace took it, by the clock of workflows: ``completed_at`` of the jobs. 0: when
    the RAP takes it."""
    by: str = ""


class JobsFinished(Model):
    """A RAP tells the workspace, and the workspace the RAPs that wait."""

    rap_id: str
    states: dict[str, State]
    """Job id to final state."""
    rap_done: bool = False
    """Set in the last notice of a RAP."""
