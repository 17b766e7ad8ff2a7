"""The rows of the read model, as workflows hand them over (architecture.md 2.5).

Every row carries a version, so that a repeated or late write never moves it backwards.
"""

from enum import StrEnum
from typing import NamedTuple

from pydantic import Field

from rap.egress import AgentReport, Metrics
from rap.models import Model
from rap.status import StatusCode


class IntentState(StrEnum):
    """What became of an announced create."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Intent(Model):
    """A create that the API is about to send, or has sent."""

    rap_id: str
    backend: str
    workspace: str
    repo_url: str
    commit: str
    state: IntentState = IntentState.PENDING
    created_at: float


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
    """What only its spans tell, beside what readers see (controller.md 16.2)."""


class JobChange(Model):
    """A change of a job's status code.

    The store works the times out of it by the rules of controller.md 4.1: ``started_at`` is set by
    the first starting code and cleared by a reset code; ``completed_at`` is set by a final code.
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


class WorkspaceJob(NamedTuple):
    """What a workspace needs to know of a job."""

    id: str
    rap_id: str
    action: str
    repo_url: str
    commit: str
    created_at: int
    status_code: StatusCode
    wait_for: tuple[str, ...]


class RapRows(Model):
    """All jobs of one RAP: they appear in the read model together or not at all."""

    rap_id: str
    jobs: tuple[JobRow, ...]


class JobChanges(Model):
    """What changed in one workflow task, written in one transaction."""

    created: RapRows | None = None
    """Set with the first changes of a RAP; inserts the jobs that are not there yet."""
    changes: tuple[JobChange, ...] = ()


class IntentSettlement(Model):
    """The end of an intent: what the workspace decided."""

    rap_id: str
    state: IntentState
    asked_at: float | None = None
    """When the settled create was asked for: an intent announced later stays as it is."""


class MaintenanceType(StrEnum):
    """Who switched database maintenance on."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"


class QueueEntry(Model):
    """A waiting job, in the order in which slots will be granted."""

    job_id: str
    rap_id: str
    workspace: str
    requires_db: bool
    weight: float = 1.0
    since: float
    action: str = ""


class SlotEntry(Model):
    """A job that holds a worker slot."""

    job_id: str
    rap_id: str
    workspace: str
    requires_db: bool
    weight: float = 1.0
    host: str
    since: float
    action: str = ""


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


class WindowKind(StrEnum):
    """What a backend does during a maintenance window."""

    PAUSE = "pause"
    """Starts no jobs; running ones go on."""
    REBOOT = "reboot"
    """Starts no jobs; running ones go back to waiting."""
    MAINTENANCE = "db-maintenance"
    """Runs no database jobs; running ones go back to waiting."""


class OrderEntry(Model):
    """An order that was carried out: what, when, by whom and why."""

    at: float
    kind: OrderKind
    detail: str = ""
    by: str = ""
    why: str = ""


class HoldUp(StrEnum):
    """Why a backend grants no slots at all."""

    NONE = ""
    PAUSED = "paused"
    NO_AGENT = "no_agent"


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
    queue: tuple[QueueEntry, ...] = ()
    agents: tuple[AgentReport, ...] = ()
    last_seen: float | None = None
    limits_ordered: bool = False
    """Whether an operator's limits are in force instead of the configured ones."""
    priorities: dict[str, int] = Field(default_factory=dict)
    """RAP to its priority, where an operator set one."""
    windows: dict[str, WindowKind] = Field(default_factory=dict)
    """The maintenance windows that are open, by name."""
    held_by_window: tuple[WindowKind, ...] = ()
    """What is switched on because of a window, and is to be switched off with the last of them."""
    orders: tuple[OrderEntry, ...] = ()
    """The latest orders, oldest first."""
    updated_at: float


class BackendUpdate(Model):
    """One write of a backend's workflow: its own row, and the stages its agents reported."""

    row: BackendRow
    changes: tuple[JobChange, ...] = ()
