"""What workflows say to each other, and what the API and operators say to them.

One argument and one result per signal and update. Each message may arrive twice or late; each
handler is idempotent.
"""

from enum import StrEnum

from pydantic import Field

from rap.egress import JobOutcome
from rap.models import DEFAULT_DATABASE, JobDefinition, JobLimits, JobSpec, Model, Weights
from rap.rows import BackendRow, IntentState, WindowKind
from rap.status import State

# --- API and CLI to WorkspaceWorkflow ---


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


# --- WorkspaceWorkflow and RapWorkflow ---


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


# --- RapWorkflow and BackendWorkflow ---


class SlotRequest(Model):
    """A job that is ready to run asks for a worker slot."""

    job_id: str
    workspace: str
    requires_db: bool
    weight: float = 1.0
    created_at: int
    position: int = 0
    """Place in its RAP: the tie-break among jobs of one second."""
    attempt: int
    action: str = ""
    """Only for the Web UI; empty in requests of earlier versions."""


class SlotHold(Model):
    """A job that runs in a slot."""

    request: SlotRequest
    host: str


class SlotDelta(Model):
    """Everything about slots that became due in one workflow task of a RAP."""

    rap_id: str
    requests: tuple[SlotRequest, ...] = ()
    releases: tuple[str, ...] = ()
    """Job ids that run no more, or wait no more."""
    holds: tuple[SlotHold, ...] = ()
    """In an announcement: the slots that the RAP uses."""
    complete: bool = False
    """Set in an announcement: the RAP has no other jobs in slots or waiting for one."""


class Announce(Model):
    """Ask a RAP to say which of its jobs use a slot and which wait for one."""


class Reweigh(Model):
    """The weights of a backend's jobs have changed: what waits is to be weighed again."""

    weights: Weights


class SlotGrant(Model):
    """A job may run, and where."""

    job_id: str
    attempt: int
    host: str


class SlotGrants(Model):
    """All slots granted to one RAP in one workflow task of the backend."""

    grants: tuple[SlotGrant, ...]


# --- JobWorkflow ---


class StopReason(StrEnum):
    """Why a running job is stopped."""

    CANCELLED = "cancelled"
    MAINTENANCE = "maintenance"
    REBOOT = "reboot"
    HOST_LOST = "host_lost"
    KILLED_BY_ADMIN = "killed_by_admin"

    @property
    def requeues(self) -> bool:
        """Whether the job goes back to waiting instead of ending."""
        return self in (StopReason.MAINTENANCE, StopReason.REBOOT, StopReason.HOST_LOST)


class StopOrder(Model):
    """Stop the running attempt of a job."""

    reason: StopReason
    by: str = ""


class JobAttempt(Model):
    """The argument of a ``JobWorkflow``."""

    definition: JobDefinition
    attempt: int
    host: str
    faults: int | None = None
    """Attempts before this one that failed for a transient fault; ``None`` for an attempt of an
    earlier version, whose end is not told in the search attribute ``StatusCode``."""


class AttemptResult(Model):
    """The result of a ``JobWorkflow``."""

    outcome: JobOutcome | None = None
    stopped: StopReason | None = None


# --- BackendWorkflow ---


class BackendLimits(Model):
    """The capacity of a backend (controller.md 14.2)."""

    max_workers: float
    max_db_workers: float


class LimitsOrder(Model):
    """An operator sets the capacity of a backend; a field that is ``None`` stays as configured."""

    max_workers: float | None = Field(default=None, ge=0)
    max_db_workers: float | None = Field(default=None, ge=0)
    by: str = ""
    why: str = ""


USUAL_PRIORITY = 3


class PriorityOrder(Model):
    """An operator sets how urgent a RAP is: from 1, before all others, to 5; usually 3."""

    rap_id: str
    priority: int = Field(ge=1, le=5)
    by: str = ""
    why: str = ""


class PassedOver(Model):
    """How often the waiting jobs of a workspace saw a slot of their pool go to others."""

    workspace: str
    requires_db: bool
    times: int


class Reservation(Model):
    """A job that waits for a slot of a backend, or holds one."""

    rap_id: str
    request: SlotRequest
    since: float
    host: str | None = None
    """Where the job runs; ``None`` while it waits."""


class BackendStart(Model):
    """The argument of a ``BackendWorkflow``; with its state when it continues as new."""

    slug: str
    limits: BackendLimits
    row: BackendRow | None = None
    reservations: tuple[Reservation, ...] = ()
    manual_maintenance: bool = False
    checks_disabled: bool = False
    checks_settled: bool = True
    """Whether the schedules of the database checks are as the switches ask for."""
    ordered_limits: LimitsOrder | None = None
    windows: dict[str, WindowKind] = Field(default_factory=dict)
    """The open maintenance windows, by name."""
    held_by_window: tuple[WindowKind, ...] = ()
    """What is switched on because of a window, and is to be switched off with the last of them."""
    priorities: dict[str, int] = Field(default_factory=dict)
    """RAP to its priority, where an operator set one."""
    passed_over: tuple[PassedOver, ...] = ()
    weights: Weights = Weights()
    """The job weights in force when they were last looked up."""
    recovering: bool = False
    """Set where the workflow is started: the RAPs that run are asked for their slots first."""
    look_round_s: float = 30.0
    """How often silent agents and vanished RAPs are looked for."""
    longest_history: int = 4000
    """Events after which the workflow continues as new, also when the server does not ask yet."""


class Switch(Model):
    """An operator's switch: pause, or manual database maintenance."""

    on: bool
    by: str = ""
    why: str = ""
    disable_checks: bool = False
    """With database maintenance switched on: no ``dbstatus`` checks until it is switched off or on
    again without this (controller.md 15.2)."""


class DatabaseMode(Model):
    """What a periodic check found out about the database."""

    maintenance: bool


class CheckSwitches(Model):
    """Which periodic checks of a backend's database are to run (controller.md 12.3, 12.4)."""

    backend: str
    status: bool = True
    data: bool = True


class RebootOrder(Model):
    """Pause the backend and send its running jobs back to waiting (controller.md 12.5)."""

    by: str = ""
    why: str = ""


class Window(Model):
    """The argument of a ``MaintenanceWindowWorkflow``: one opening of a maintenance window."""

    backend: str
    name: str
    kind: WindowKind
    seconds: float = Field(gt=0)
    by: str = ""
    """Who made the window."""
    why: str = ""


class WindowOrder(Model):
    """A maintenance window opens or closes."""

    name: str
    kind: WindowKind
    opens: bool
    by: str = ""
    why: str = ""


class LostHost(Model):
    """An operator declares that a host will not come back: its jobs start elsewhere."""

    host: str
    by: str = ""
    why: str = ""


class WorkflowIds(Model):
    """Some workflow ids."""

    ids: tuple[str, ...]


# --- database checks (agent.md 12) ---


class DatabaseCheck(Model):
    """The argument of a check's workflow, as its schedule gives it."""

    backend: str
    image: str
    """Full name with its tag; the digest is looked up for each check."""
    pins_image: bool = True
    database_name: str = DEFAULT_DATABASE
    hes_expected_activity_month: str = ""
    """YYYYMM; only for the data check."""


class DatabaseStatusOrder(Model):
    """Ask a database whether it is in maintenance."""

    image: str
    image_sha: str | None = None
    database_name: str = DEFAULT_DATABASE


class DataCheckOrder(Model):
    """Ask the default database whether its hospital data reach the expected month."""

    image: str
    image_sha: str | None = None
    hes_expected_activity_month: str = Field(pattern=r"^[0-9]{6}$")


# --- activities of the agent's control queue ---


class TerminateOrder(Model):
    """Stop the container of a job at once, whatever else the host is doing."""

    job_id: str
    task_id: str


class DiscardOrder(Model):
    """Make sure that nothing of a stopped attempt is left over on its host."""

    definition: JobDefinition
