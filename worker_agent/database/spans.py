"""The span of a database check (docs/spec/agent.md 14.2)."""

import time

from rap.egress import DataCheckStatus, Fault
from rap.messages.checks import DatabaseStatusOrder, DataCheckOrder
from rap.telemetry import traces
from rap.telemetry.traces import Attributes, Failure
from worker_agent.database.answers import StatusFinding

Order = DatabaseStatusOrder | DataCheckOrder


class CheckSpan:
    """Follows one check, a ``DBSTATUS`` or ``DBDATACHECK``, and records its end. Never fails."""

    def __init__(self, task_type: str, backend: str, order: Order) -> None:
        self._start_ns = time.time_ns()
        self._attributes: dict[str, object] = {
            "backend": backend,
            "task_type": task_type,
            "agent.db-image": order.image,
            "agent.db-image_id": order.image_sha or "",
            "complete": True,
        }

    def found_status(self, finding: StatusFinding) -> None:
        """It is known whether the database is in maintenance. The build count goes here alone."""
        count = finding.build_count
        self._record(
            {
                "agent.db-maintenance": bool(finding.status.value),
                "agent.db-build-count": "" if count is None else str(count),
            }
        )

    def found_data(self, status: DataCheckStatus) -> None:
        """It is known whether the data are as recent as they should be."""
        self._record({"agent.db-data-check": status is DataCheckStatus.OK})

    def failed(self, fault: Fault) -> None:
        """The check came to nothing, and why in one word."""
        self._record({"fatal_task_error": False}, Failure(fault.value))

    def _record(self, found: Attributes, failure: Failure | None = None) -> None:
        traces.record(
            traces.tracer("agent_loop"),
            "LOOP_TASK",
            start_ns=self._start_ns,
            end_ns=time.time_ns(),
            attributes={**self._attributes, **found},
            failure=failure,
        )
