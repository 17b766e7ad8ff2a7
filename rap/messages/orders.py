"""What operators, windows and checks order of a backend."""

from pydantic import Field

from rap.models import Model
from rap.rows import WindowKind


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
