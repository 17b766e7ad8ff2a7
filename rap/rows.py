"""The rows of the read model, as workflows hand them over (docs/explanation/architecture.md).

Every row carries a version, so that a repeated or late write never moves it backwards.
"""

from enum import StrEnum

from pydantic import Field, model_validator

from rap.egress import AgentReport, Metrics
from rap.models import Model
from rap.status import State, StatusCode
from rap.windows import WindowKind


class IntentState(StrEnum):
    """What became of an announced create."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Intent(Model):
    """A create that the API is about to send, or has sent.

    Its times are those of the database's clock, which is the one that all processes share.
    """

    rap_id: str
    backend: str
    workspace: str
    repo_url: str
    commit: str
    state: IntentState = IntentState.PENDING
    created_at: float = 0.0
    """When it was announced; given as 0 it becomes now."""
    number: int = 0
    """Counts the creates of this RAP; given by the read model."""
    request: str = ""
    """The request as JSON, to be offered again."""
    offers: int = 0
    """How often it was offered again."""
    offered_at: float = 0.0
    """When it was announced, or last offered."""


class JobRow(Model):
    """A job as readers know it, when it is created."""

    id: str
    rap_id: str
    position: int
    """Place in its RAP, dependencies first."""
    backend: str
    workspace: str
    repo_url: str
    commit: str
    action: str
    run_command: str
    requires_db: bool
    user: str = ""
    project: str = ""
    weight: float = 1.0
    created_at: int
    wait_for: tuple[str, ...] = ()
    """The ids of the jobs that it waits for, of this RAP and of others."""
    trace_context: dict[str, str] = Field(default_factory=dict)
    trace_attributes: dict[str, str] = Field(default_factory=dict)
    """What only its spans tell, beside what readers see (docs/spec/controller.md 16.2)."""


class JobChange(Model):
    """A change of a job's status code.

    The store works the times out of it by the rules of docs/spec/controller.md 4.1:
    ``started_at`` is set by the first starting code and cleared by a reset code; ``completed_at``
    is set by a final code.
    """

    job_id: str
    attempt: int
    code: StatusCode
    message: str
    at: float
    completed_at: float | None = None
    """Only where it differs from ``at``: for a cancelled job the time of the cancel call."""
    metrics: Metrics | None = None
    exit_code: int | None = None
    """Of the attempt that this change ends; for its spans, as the next."""
    image_id: str | None = None


class RapRows(Model):
    """All jobs of one RAP: they appear in the read model together or not at all."""

    rap_id: str
    jobs: tuple[JobRow, ...]


class JobChanges(Model):
    """What changed in one workflow task, written in one transaction."""

    created: RapRows | None = None
    """Set with the first changes of a RAP; inserts the jobs that are not there yet."""
    changes: tuple[JobChange, ...] = ()


class RapEnding(Model):
    """The workflow of a RAP is gone: nobody else tells of the end of its jobs any more."""

    rap_id: str
    at: float


class JobStates(Model):
    """The states of some jobs, by their ids."""

    states: dict[str, State]


class IntentSettlement(Model):
    """The end of an intent: what the workspace decided."""

    rap_id: str
    state: IntentState
    number: int | None = None
    """Of the settled create: an intent announced later stays as it is."""


class MaintenanceType(StrEnum):
    """Who switched database maintenance on."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"


class QueueEntry(Model):
    """A job that waits for a worker slot of a backend."""

    job_id: str
    rap_id: str
    workspace: str
    requires_db: bool
    weight: float = 1.0
    since: float
    action: str = ""
    created_at: int = 0
    position: int = 0
    """Place in its RAP."""


class SlotEntry(QueueEntry):
    """A job that holds a worker slot, since then."""

    host: str


class OrderKind(StrEnum):
    """What an operator may order of a backend."""

    PAUSE = "pause"
    UNPAUSE = "unpause"
    MAINTENANCE_ON = "db-maintenance on"
    MAINTENANCE_OFF = "db-maintenance off"
    PREPARE_FOR_REBOOT = "prepare-for-reboot"
    LIMITS = "limits"
    PRIORITY = "priority"
    HOST_LOST = "host-lost"
    WINDOW_BEGINS = "window begins"
    WINDOW_ENDS = "window ends"


class OrderEntry(Model):
    """An order that was carried out: what, when, by whom and why."""

    at: float
    kind: OrderKind
    detail: str = ""
    by: str = ""
    why: str = ""


class OpenWindow(Model):
    """A maintenance window that is open."""

    kind: WindowKind
    until: float | None = None
    """When it is to close; ``None``: when it is told to."""
    workflow_id: str = ""
    """Who is to close it; empty: whoever opened it by hand."""
    missing: bool = False
    """Whether that workflow runs no more: the backend closes the window itself, at its end."""

    @model_validator(mode="before")
    @classmethod
    def _of_a_kind(cls, given: object) -> object:
        """Earlier versions wrote the kind alone."""
        return {"kind": given} if isinstance(given, str) else given


class HoldUp(StrEnum):
    """Why a backend grants no slots at all."""

    NONE = ""
    PAUSED = "paused"
    NO_AGENT = "no_agent"
    CLOSED = "closed"
    """There are agents, but none whose host can start jobs; their reports say why."""


class BackendRow(Model):
    """A backend as readers know it."""

    slug: str
    version: int
    """Rises with every write of the backend's workflow, also over continue-as-new."""
    paused: bool = False
    paused_since: float | None = None
    maintenance: bool = False
    maintenance_since: float | None = None
    maintenance_type: MaintenanceType | None = None
    manual_since: float | None = None
    """When an operator last took maintenance into their own hands, or gave it back."""
    checks_disabled: bool = False
    """Whether the database is not asked about maintenance, by an operator's wish."""
    checks_disabled_since: float | None = None
    """When that last changed."""
    max_workers: float = 0
    max_db_workers: float = 0
    hold_up: HoldUp = HoldUp.NONE
    slots: tuple[SlotEntry, ...] = ()
    waiting: int = 0
    """How many jobs wait for a slot."""
    queue: tuple[QueueEntry, ...] = ()
    """Those jobs in the order in which they will be considered. What the backend's workflow tells
    has only the first: the read model keeps them job by job, and orders them when it is read."""
    agents: tuple[AgentReport, ...] = ()
    last_seen: float | None = None
    limits_ordered: bool = False
    """Whether an operator's limits are in force instead of the configured ones."""
    priorities: dict[str, int] = Field(default_factory=dict)
    """RAP to its priority, where an operator set one."""
    windows: dict[str, OpenWindow] = Field(default_factory=dict)
    """The maintenance windows that are open, by name."""
    held_by_window: tuple[WindowKind, ...] = ()
    """What is switched on because of a window, and is to be switched off with the last of them."""
    orders: tuple[OrderEntry, ...] = ()
    """The latest orders, oldest first."""
    updated_at: float


class BackendUpdate(Model):
    """One write of a backend's workflow: its own row, what changed in its queue, and the stages
    its agents reported.

    What changed counts from the write before; a job may be named again as it is known already.
    """

    row: BackendRow
    queued: tuple[QueueEntry, ...] = ()
    """Jobs that wait now, new or altered."""
    unqueued: tuple[str, ...] = ()
    """The ids of jobs that wait no more."""
    whole_queue: bool = False
    """Whether no job waits but those ``queued``; what was written earlier is forgotten."""
    changes: tuple[JobChange, ...] = ()
