"""What a backend's workflow is started with, and what it asks."""

from pydantic import Field

from rap.messages.orders import LimitsOrder
from rap.messages.slots import PassedOver, Reservation
from rap.models import Model, Weights
from rap.rows import BackendRow, WindowKind


class BackendLimits(Model):
    """The capacity of a backend (controller.md 14.2)."""

    max_workers: float
    max_db_workers: float


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


class CheckSwitches(Model):
    """Which periodic checks of a backend's database are to run (controller.md 12.3, 12.4)."""

    backend: str
    status: bool = True
    data: bool = True


class WorkflowIds(Model):
    """Some workflow ids."""

    ids: tuple[str, ...]
