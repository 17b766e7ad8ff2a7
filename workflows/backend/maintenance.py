"""Database maintenance of a backend: what is done when it begins and when it ends."""

from temporalio import workflow

from rap.messages.jobs import StopOrder, StopReason
from rap.rows import MaintenanceType
from workflows.backend.messages import BackendMessages
from workflows.backend.state import BackendState


def set_maintenance(
    state: BackendState, messages: BackendMessages, kind: MaintenanceType | None
) -> None:
    """Enter, leave or relabel maintenance; ``None`` is none (docs/spec/controller.md 12.2).

    The database jobs that run are stopped at its beginning, and no others; they wait for its end.
    """
    if not state.set_maintenance(kind, now=workflow.time()):
        return
    if kind is not None:
        database_jobs = [job for job in state.running.values() if job.request.requires_db]
        messages.stop(database_jobs, StopOrder(reason=StopReason.MAINTENANCE))
    messages.touch()
