"""The controller's activity that pauses and resumes the schedules of database checks."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from temporalio import activity
from temporalio.client import Client, ScheduleActionExecutionStartWorkflow, ScheduleHandle
from temporalio.service import RPCError, RPCStatusCode

from rap import ids
from rap.contracts.activities import SWITCH_CHECKS
from rap.egress import Acknowledged
from rap.ids import CheckKind
from rap.messages.backends import CheckSwitches

log = structlog.get_logger()

PAUSE_REASONS = {
    CheckKind.STATUS: "database maintenance was switched on by hand, with checks disabled",
    CheckKind.DATA: "the database is in maintenance",
}
"""Why we paused a schedule. One that a person paused for another reason stays as it is."""


class CheckSchedules:
    """Switches the checks of a backend."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn(name=SWITCH_CHECKS.name)
    async def switch_checks(self, wanted: CheckSwitches) -> Acknowledged:
        """Let the schedules be as wanted; those that do not exist are not missed.

        A check that is switched off while it runs is cancelled. One that is switched on again is
        made at once if its interval has passed meanwhile (docs/spec/controller.md 12.3).
        """
        for kind, on in ((CheckKind.STATUS, wanted.status), (CheckKind.DATA, wanted.data)):
            handle = self._client.get_schedule_handle(ids.check_id(kind, wanted.backend))
            try:
                await (self._resume(handle, kind) if on else self._pause(handle, kind))
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
        return Acknowledged()

    async def _pause(self, handle: ScheduleHandle, kind: CheckKind) -> None:
        found = await handle.describe()
        if not found.schedule.state.paused:
            await handle.pause(note=PAUSE_REASONS[kind])
            log.info("database check paused", schedule=handle.id)
        for action in found.info.running_actions:
            if isinstance(action, ScheduleActionExecutionStartWorkflow):
                await self._cancel(action)

    async def _resume(self, handle: ScheduleHandle, kind: CheckKind) -> None:
        found = await handle.describe()
        state = found.schedule.state
        if not state.paused or state.note != PAUSE_REASONS[kind]:
            return
        await handle.unpause(note="")
        log.info("database check resumed", schedule=handle.id)
        started = [action.started_at for action in found.info.recent_actions]
        (interval,) = found.schedule.spec.intervals
        if is_due(started, interval.every, datetime.now(UTC)):
            await handle.trigger()

    async def _cancel(self, action: ScheduleActionExecutionStartWorkflow) -> None:
        running = self._client.get_workflow_handle(
            action.workflow_id, first_execution_run_id=action.first_execution_run_id
        )
        try:
            await running.cancel()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # it has ended meanwhile
                raise


def is_due(started: Sequence[datetime], interval: timedelta, now: datetime) -> bool:
    """Whether the last check was started longer ago than the interval, or none ever was."""
    return not started or now - max(started) >= interval
