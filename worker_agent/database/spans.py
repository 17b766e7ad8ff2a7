"""The span of a database check (agent.md 14.2)."""

import time

from rap import tracing
from rap.egress import DataCheckStatus, Fault
from rap.tracing import Attributes, Failure
from worker_agent.database_answers import StatusFinding
from worker_agent.engine.images import Pinned


class CheckSpan:
    """Follows one check from its start, and tells it when it is over. Never fails.

    Args:
        task_type: ``DBSTATUS`` or ``DBDATACHECK``.
        backend: of this agent.
        order: names the image.
    """

    def __init__(self, task_type: str, backend: str, order: Pinned) -> None:
        self._start_ns = time.time_ns()
        self._attributes: dict[str, object] = {
            "backend": backend,
            "task_type": task_type,
            "agent.db-image": order.image,
            "agent.db-image_id": order.image_sha or "",
            "complete": True,
        }

    def found_status(self, finding: StatusFinding) -> None:
        """Tell whether the database is in maintenance. The build count is told here alone."""
        count = finding.build_count
        self._tell(
            {
                "agent.db-maintenance": bool(finding.status.value),
                "agent.db-build-count": "" if count is None else str(count),
            }
        )

    def found_data(self, status: DataCheckStatus) -> None:
        """Tell whether the data are as recent as they should be."""
        self._tell({"agent.db-data-check": status is DataCheckStatus.OK})

    def failed(self, fault: Fault) -> None:
        """Tell that the check came to nothing, and why in one word."""
        self._tell({"fatal_task_error": False}, Failure(fault.value))

    def _tell(self, found: Attributes, failure: Failure | None = None) -> None:
        tracing.record(
            tracing.tracer("agent_loop"),
            "LOOP_TASK",
            start_ns=self._start_ns,
            end_ns=time.time_ns(),
            attributes={**self._attributes, **found},
            failure=failure,
        )
