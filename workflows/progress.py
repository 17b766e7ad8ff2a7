"""Where one job of a RAP stands, as its RAP keeps it."""

import asyncio
from dataclasses import dataclass, field

from temporalio import workflow
from temporalio.workflow import ChildWorkflowHandle

from rap.messages import AttemptResult, CancelOrder, SlotGrant, SlotRequest
from rap.models import JobSpec
from rap.status import WAITING_HEAVY, StatusCode
from workflows.describe import JobLine
from workflows.job import JobWorkflow
from workflows.markdown import cut
from workflows.markdown import summary as named

LONGEST_NAME = 60
"""Of an action, where a backend shows it."""


@dataclass(eq=False)
class Progress:
    """One job: its code, its attempt, and what its task waits for."""

    position: int
    """Place in the RAP, dependencies first."""
    spec: JobSpec
    code: StatusCode = StatusCode.CREATED
    message: str = StatusCode.CREATED.message
    attempt: int = 1
    faults: int = 0
    """Attempts that failed for a reason that may pass."""
    cancelled: CancelOrder | None = None
    grant: SlotGrant | None = None
    child: ChildWorkflowHandle[JobWorkflow, AttemptResult] | None = None
    is_queued: bool = False
    """Whether the job has asked for a slot and not got it yet."""
    holds_slot: bool = False
    host: str = ""
    """Where the last attempt was started; empty if none was."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever something happened that the job's task may be waiting for."""

    @property
    def is_over(self) -> bool:
        """Whether the job has reached its end, though its container may still be winding down."""
        return self.code.is_final

    def start_over(self, *, after_fault: bool) -> None:
        """Go on with the next attempt."""
        self.attempt += 1
        self.faults += after_fault

    @property
    def line(self) -> JobLine:
        """The job as the table of its RAP shows it."""
        return JobLine(
            job_id=self.spec.id,
            action=self.spec.action,
            code=self.code,
            message=self.message,
            attempt=self.attempt,
            host=self.host,
            has_page=bool(self.host),
        )

    async def wait(self, *, seconds: float | None = None, summary: str = "") -> None:
        """Wait until something happens to the job, or for some time.

        Args:
            seconds: at most so long.
            summary: what the Web UI shows for the timer.
        """
        self.wake.clear()
        try:
            if seconds is not None and workflow.patched("named-pauses"):
                await workflow.wait_condition(
                    self.wake.is_set, timeout=seconds, timeout_summary=named(summary)
                )
            else:
                await asyncio.wait_for(self.wake.wait(), seconds)
        except TimeoutError:
            return

    def waiting_code(self, because: str = "") -> tuple[StatusCode, str]:
        """The code and the sentence of a job that waits for a worker (controller.md 9.4)."""
        code = StatusCode.WAITING_ON_WORKERS
        message = code.message
        if self.spec.requires_db:
            code = StatusCode.WAITING_ON_DB_WORKERS
            message = code.message
        elif self.spec.weight > 1:
            message = WAITING_HEAVY
        return code, f"{message} ({because})" if because else message

    def slot_request(self) -> SlotRequest:
        """What the backend needs to know to grant a slot."""
        spec = self.spec
        return SlotRequest(
            job_id=spec.id,
            workspace=spec.workspace,
            requires_db=spec.requires_db,
            weight=spec.weight,
            created_at=spec.created_at,
            position=self.position,
            attempt=self.attempt,
            action=cut(spec.action, LONGEST_NAME),
        )
