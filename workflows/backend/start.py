"""How the workflow of a backend is started: for the first time, and again if it was lost."""

from datetime import timedelta

from rap import ids
from rap.messages.backends import BackendLimits, BackendStart
from rap.messages.orders import LimitsOrder
from rap.rows import BackendRow, MaintenanceType
from rap.temporal.codec import MOST_STORED, size_as_sent
from rap.temporal.start_options import StartOptions, start_options
from workflows.backend.state import EMPTY
from workflows.backend.texts import backend_texts

STEP_LIMIT = timedelta(seconds=30)
"""How long one step of the workflow may take. The first after a restart goes through all that
waits, on a machine that may be busy; but a step that a killed controller had begun is not begun
again before this is over."""

SURELY_FIT = 50_000
"""So many waiting jobs can be carried over, of whatever RAPs."""


def backend_options(slug: str) -> StartOptions:
    """The options for whoever starts it."""
    return start_options(
        ids.backend_workflow_id(slug), backend_texts(slug), task_timeout=STEP_LIMIT, backend=slug
    )


def start_after(row: BackendRow | None, *, slug: str, limits: BackendLimits) -> BackendStart:
    """The start of a backend's workflow, with the switches that its last row shows.

    A backend that somebody paused must not wake up because its workflow was lost.
    """
    start = BackendStart(slug=slug, limits=limits, recovering=True)
    if row is None:
        return start
    ordered = LimitsOrder(max_workers=row.max_workers, max_db_workers=row.max_db_workers)
    return start.model_copy(
        update={
            "row": row.model_copy(update=EMPTY),
            "manual_maintenance": row.maintenance_type is MaintenanceType.MANUAL,
            "checks_disabled": row.checks_disabled,
            "ordered_limits": ordered if row.limits_ordered else None,
            "priorities": row.priorities,
            "windows": row.windows,
            "held_by_window": row.held_by_window,
        }
    )


def that_fits(start: BackendStart, *, waiting: int) -> BackendStart:
    """The start of the next run, without its ``waiting`` jobs if they are more than can be sent.

    Their RAPs know them as well, and are asked as after a loss.
    """
    if waiting < SURELY_FIT or size_as_sent(start) < 0.9 * MOST_STORED:
        return start
    return start.model_copy(update={"waiting": (), "untold": None, "recovering": True})
