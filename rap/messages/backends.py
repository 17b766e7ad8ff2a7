"""What a backend's workflow is started with, and what it asks."""

from enum import StrEnum

from pydantic import Field

from rap.messages.orders import LimitsOrder
from rap.messages.packed_queue import WaitingOfRap
from rap.messages.slots import PassedOver, Reservation
from rap.models import Model, Weights
from rap.rows import BackendRow, JobChange, OpenWindow
from rap.windows import WindowKind


class BackendLimits(Model):
    """The capacity of a backend (docs/spec/controller.md 14.2)."""

    max_workers: float
    max_db_workers: float


class ErrandKind(StrEnum):
    """What a backend tells others that it has noticed, most of it when it looks round."""

    REWEIGH = "reweigh"
    """A RAP: its workspace's weights have changed."""
    ANNOUNCE = "announce"
    """A RAP: say which jobs use a slot and which wait for one."""
    RAP_LOST = "rap_lost"
    """A workspace: this RAP of it was terminated."""
    WORKSPACE = "workspace"
    """A workspace that was terminated: start again."""
    HOST_LOST = "host_lost"
    """A RAP: this host, where jobs of it ran, will not come back."""


class Errand(Model):
    """Something that a backend has found to be done for a RAP, a workspace or both."""

    kind: ErrandKind
    rap_id: str = ""
    workspace: str = ""
    host: str = ""


class BackendStart(Model):
    """The argument of a ``BackendWorkflow``; with its state when it continues as new."""

    slug: str
    limits: BackendLimits
    row: BackendRow | None = None
    reservations: tuple[Reservation, ...] = ()
    """Jobs that hold a slot or wait for one."""
    waiting: tuple[WaitingOfRap, ...] = ()
    """More that wait for one."""
    manual_maintenance: bool = False
    checks_disabled: bool = False
    checks_settled: bool = True
    """Whether the schedules of the database checks are as the switches ask for."""
    ordered_limits: LimitsOrder | None = None
    windows: dict[str, OpenWindow] = Field(default_factory=dict)
    """The open maintenance windows, by name."""
    held_by_window: tuple[WindowKind, ...] = ()
    """What is switched on because of a window, and is to be switched off with the last of them."""
    priorities: dict[str, int] = Field(default_factory=dict)
    """RAP to its priority, where an operator set one."""
    passed_over: tuple[PassedOver, ...] = ()
    untold: tuple[str, ...] | None = None
    """The ids of jobs that have begun or ceased to wait, which readers do not know yet; ``None``:
    they have to be told of all that wait."""
    unrecorded: tuple[JobChange, ...] = ()
    """Stages of jobs that readers do not know yet."""
    written_at: float = 0.0
    """When readers were told last."""
    weights: Weights = Weights()
    """The job weights in force when they were last looked up."""
    errands: tuple[Errand, ...] = ()
    """What was noticed and others may not have heard yet."""
    recovering: bool = False
    """Set where the workflow is started: the RAPs that run are asked for their slots first."""
    look_round_s: float = 30.0
    """How often silent agents and vanished RAPs are looked for."""
    looks_round_at: float | None = None
    """When that is due next; ``None``: after that time."""
    longest_history: int = 1000
    """Events after which the workflow continues as new, also when the server does not ask yet: all
    that has to be gone through again after a restart of the controller."""


class CheckSwitches(Model):
    """Which checks of a backend's database are to run (docs/spec/controller.md 12.3, 12.4)."""

    backend: str
    status: bool = True
    data: bool = True


class WorkflowIds(Model):
    """Some workflow ids."""

    ids: tuple[str, ...]
