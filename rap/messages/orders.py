"""What operators, windows and checks order of a backend."""

from pydantic import Field

from rap.models import Model
from rap.windows import WindowKind

MOST_WORKERS = 1_000_000
"""Nobody means more; what is endless can neither be kept nor shown."""

LONGEST_WINDOW_S = 366 * 24 * 3600
"""Nobody means longer; its end must be one that a calendar can show."""


class Order(Model):
    """By whom something is ordered, and why; empty: not told."""

    by: str = ""
    why: str = ""


class LimitsOrder(Order):
    """An operator sets the capacity of a backend; a field that is ``None`` stays as configured."""

    max_workers: float | None = Field(default=None, ge=0, le=MOST_WORKERS)
    max_db_workers: float | None = Field(default=None, ge=0, le=MOST_WORKERS)


USUAL_PRIORITY = 3


class PriorityOrder(Order):
    """An operator sets how urgent a RAP is: from 1, before all others, to 5; usually 3."""

    rap_id: str
    priority: int = Field(ge=1, le=5)


class Switch(Order):
    """An operator's switch: pause, or manual database maintenance."""

    on: bool
    disable_checks: bool = False
    """With database maintenance switched on: no ``dbstatus`` checks until it is switched off or on
    again without this (docs/spec/controller.md 15.2)."""


class DatabaseMode(Model):
    """What a periodic check found out about the database."""

    maintenance: bool


class RebootOrder(Order):
    """Pause, and send the running jobs back to waiting (docs/spec/controller.md 12.5)."""


class Window(Order):
    """The argument of a ``MaintenanceWindowWorkflow``: one opening of a maintenance window."""

    backend: str
    name: str
    kind: WindowKind
    seconds: float = Field(gt=0, le=LONGEST_WINDOW_S)


class WindowOrder(Order):
    """A maintenance window opens or closes."""

    name: str
    kind: WindowKind
    opens: bool
    seconds: float | None = Field(default=None, gt=0, le=LONGEST_WINDOW_S)
    """How long it is to be open, from the moment at which the backend is told."""
    workflow_id: str = ""
    """The workflow that will close it."""


class LostHost(Order):
    """An operator declares that a host will not come back: its jobs start elsewhere."""

    host: str
