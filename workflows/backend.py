"""One backend: its worker slots, its waiting queue, its switches, and the agents last seen.

The decision who runs next is :func:`workflows.scheduling.schedule`; this workflow keeps what that
decision is made of, carries it out, and makes it known.
"""

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.contracts import RECORD_BACKEND
    from rap import ids
    from rap.egress import AgentReport
    from rap.messages import (
        BackendLimits,
        BackendStart,
        DatabaseMode,
        LimitsOrder,
        LostHost,
        PriorityOrder,
        RebootOrder,
        Reservation,
        SlotDelta,
        SlotGrant,
        SlotGrants,
        StopOrder,
        StopReason,
        Switch,
        WindowOrder,
    )
    from rap.rows import (
        BackendRow,
        BackendUpdate,
        JobChange,
        MaintenanceType,
        OrderKind,
        WindowKind,
    )
    from workflows.backend_state import BackendState
    from workflows.calls import on_records, tell
    from workflows.check_switches import CheckSwitchboard
    from workflows.describe_backend import backend_details
    from workflows.outbox import Outbox, settle
    from workflows.watch import Watch

WRITE_PAUSE_S = 1.0
"""At most one write of the backend's row in this time."""

WAITING_PER_SECOND = 1000
"""For so many waiting jobs a second more, since each of them is in the row."""


@workflow.defn(name="BackendWorkflow")
class BackendWorkflow:
    """Grants worker slots for as long as the backend exists."""

    @workflow.init
    def __init__(self, start: BackendStart) -> None:
        self._longest_history = start.longest_history
        self._state = BackendState(start)
        self._changed = True
        self._unrecorded: dict[str, JobChange] = {}
        self._dirty = True
        self._writing = False
        self._grants = Outbox(self._send_grants)
        self._stops = Outbox(self._send_stops)
        self._watch = Watch(
            self._state, every=timedelta(seconds=start.look_round_s), touch=self._touch
        )
        self._checks = CheckSwitchboard(self._state.wanted_checks, settled=start.checks_settled)

    @workflow.run
    async def run(self, start: BackendStart) -> None:
        """Serve for ever, continuing as new from time to time."""
        if start.recovering:
            # What runs must be known before anything is granted.
            await self._watch.recover()
        serving = [
            asyncio.create_task(task)
            for task in (
                self._grants.run(),
                self._stops.run(),
                self._grant_slots(),
                self._write_rows(),
                self._watch.run(),
                self._checks.run(),
            )
        ]
        await settle(self._may_continue_as_new, serving)
        workflow.continue_as_new(
            self._state.carried_over().model_copy(
                update={
                    "look_round_s": start.look_round_s,
                    "longest_history": start.longest_history,
                    "checks_settled": self._checks.is_settled,
                }
            )
        )

    # --- what RAPs, agents and operators tell us ---

    @workflow.signal
    def slots(self, delta: SlotDelta) -> None:
        """Take back slots and take in requests, in this order; repeated ones change nothing."""
        for job_id in delta.releases:
            self._state.release(job_id)
        if delta.complete:
            named = {
                one.job_id for one in (*delta.requests, *(hold.request for hold in delta.holds))
            }
            self._state.keep_only(delta.rap_id, named)
            self._watch.heard(delta.rap_id)
        for hold in delta.holds:
            self._state.hold(delta.rap_id, hold, _now())
        for request in delta.requests:
            self._state.request(delta.rap_id, request, _now())
        self._touch()

    @workflow.signal
    def report(self, report: AgentReport) -> None:
        """Take an agent's sign of life, and the stages of its jobs."""
        for change in self._state.take_report(report, _now()):
            self._unrecorded[change.job_id] = change
        self._touch()

    @workflow.signal
    def configure(self, limits: BackendLimits) -> None:
        """Take the configured capacity; running jobs are not affected."""
        self._state.configure(limits)
        self._checks.look_again()
        self._touch()

    @workflow.signal(
        description='Set the capacity: {"max_workers": 12, "by": "me"}; {} for the configured one'
    )
    def limits(self, order: LimitsOrder) -> None:
        """Set the capacity until further notice; an order without numbers ends that."""
        self._state.order_limits(order)
        numbers = (("workers", order.max_workers), ("db workers", order.max_db_workers))
        detail = ", ".join(f"{name} {value:g}" for name, value in numbers if value is not None)
        self._note(OrderKind.LIMITS, order, detail or "as configured")

    @workflow.signal(
        description='Set how urgent a RAP is, 1 to 5: {"rap_id": "…", "priority": 1, "by": "me"}'
    )
    def prioritise(self, order: PriorityOrder) -> None:
        """Set how urgent a RAP is: its jobs are considered before those of lesser priority."""
        self._state.prioritise(order)
        self._note(OrderKind.PRIORITY, order, f"{order.rap_id} {order.priority}")

    @workflow.signal(
        description='Start no more jobs, or again: {"on": true, "by": "me", "why": "disk"}'
    )
    def pause(self, switch: Switch) -> None:
        """Start no more jobs, or start them again (controller.md 12.1)."""
        self._state.windows.outranked(WindowKind.PAUSE)
        self._state.set_paused(on=switch.on, now=_now())
        self._note(OrderKind.PAUSE if switch.on else OrderKind.UNPAUSE, switch)

    @workflow.signal(
        description='Hold database jobs, or not: {"on": true, "by": "me", "why": "new data"}'
    )
    def database_maintenance(self, switch: Switch) -> None:
        """Switch database maintenance by hand; off hands it back to the periodic check (12.3)."""
        self._state.windows.outranked(WindowKind.MAINTENANCE)
        self._state.set_manual(on=switch.on, disable_checks=switch.disable_checks, now=_now())
        self._set_maintenance(MaintenanceType.MANUAL if switch.on else None)
        detail = "checks disabled" if self._state.checks_disabled else ""
        kind = OrderKind.MAINTENANCE_ON if switch.on else OrderKind.MAINTENANCE_OFF
        self._note(kind, switch, detail)

    @workflow.signal
    def database_mode(self, mode: DatabaseMode) -> None:
        """Take the finding of a periodic check; a manual setting outranks it."""
        if not self._state.manual_maintenance:
            self._set_maintenance(MaintenanceType.SCHEDULED if mode.maintenance else None)

    @workflow.signal(
        description='Pause, and send running jobs back to waiting: {"by": "me", "why": "kernel"}'
    )
    def prepare_for_reboot(self, order: RebootOrder) -> None:
        """Pause, and send every running job back to waiting (12.5)."""
        self._state.windows.outranked(WindowKind.REBOOT)
        self._reboot(order.by)
        self._note(OrderKind.PREPARE_FOR_REBOOT, order)

    @workflow.signal
    def window(self, order: WindowOrder) -> None:
        """Do what a maintenance window is for, and undo it at its end; operators outrank it."""
        windows = self._state.windows
        if order.opens:
            maintains = order.kind is WindowKind.MAINTENANCE
            is_on = self._state.manual_maintenance if maintains else self._state.is_paused
            if windows.opens(order.name, order.kind, is_on=is_on):
                self._begin(order)
        else:
            ends = windows.closes(order.name)
            if ends is WindowKind.PAUSE:
                self._state.set_paused(on=False, now=_now())
            elif ends is WindowKind.MAINTENANCE:
                self._set_manual_maintenance(on=False)
        kind = OrderKind.WINDOW_BEGINS if order.opens else OrderKind.WINDOW_ENDS
        self._note(kind, order, f"{order.name}: {order.kind}")

    def _begin(self, order: WindowOrder) -> None:
        if order.kind is WindowKind.MAINTENANCE:
            self._set_manual_maintenance(on=True)
        elif order.kind is WindowKind.REBOOT:
            self._reboot(order.by)
        else:
            self._state.set_paused(on=True, now=_now())

    @workflow.signal(
        description='Run the jobs of a dead host elsewhere: {"host": "main", "by": "me"}'
    )
    def host_lost(self, lost: LostHost) -> None:
        """Give up a host that will not come back: its jobs run again elsewhere."""
        jobs = [job for job in self._state.running() if job.host == lost.host]
        self._state.forget_host(lost.host)
        self._stop(jobs, StopOrder(reason=StopReason.HOST_LOST, by=lost.by))
        self._note(OrderKind.HOST_LOST, lost, lost.host)

    @workflow.query
    def state(self) -> BackendRow:
        """Show the backend as readers know it."""
        return self._state.row(_now())

    def _reboot(self, by: str) -> None:
        self._state.set_paused(on=True, now=_now())
        self._stop(self._state.running(), StopOrder(reason=StopReason.REBOOT, by=by))

    def _set_manual_maintenance(self, *, on: bool) -> None:
        self._state.set_manual(on=on, disable_checks=False, now=_now())
        self._set_maintenance(MaintenanceType.MANUAL if on else None)

    def _set_maintenance(self, kind: MaintenanceType | None) -> None:
        if not self._state.set_maintenance(kind, now=_now()):
            return
        if kind is not None:
            database_jobs = [job for job in self._state.running() if job.request.requires_db]
            self._stop(database_jobs, StopOrder(reason=StopReason.MAINTENANCE))
        self._touch()

    def _stop(self, jobs: list[Reservation], order: StopOrder) -> None:
        for job in jobs:
            self._stops.put((job.request.job_id, order))

    def _note(
        self,
        kind: OrderKind,
        order: Switch | RebootOrder | LostHost | LimitsOrder | PriorityOrder | WindowOrder,
        detail: str = "",
    ) -> None:
        self._state.note_order(kind, now=_now(), by=order.by, why=order.why, detail=detail)
        self._touch()

    def _touch(self) -> None:
        self._changed = self._dirty = True

    # --- what we do about it ---

    async def _grant_slots(self) -> None:
        """Decide again whenever something changed that may matter."""
        while True:
            await workflow.wait_condition(lambda: self._changed)
            self._changed = False
            for rap_id, grant in self._state.grant(_now()):
                self._grants.put((rap_id, grant))

    async def _send_grants(self, grants: list[tuple[str, SlotGrant]]) -> None:
        by_rap: dict[str, list[SlotGrant]] = {}
        for rap_id, grant in grants:
            by_rap.setdefault(rap_id, []).append(grant)
        await asyncio.gather(
            *(self._send_grants_to(rap_id, tuple(some)) for rap_id, some in by_rap.items())
        )

    async def _send_grants_to(self, rap_id: str, grants: tuple[SlotGrant, ...]) -> None:
        told = await tell(
            ids.rap_workflow_id(rap_id), "granted", SlotGrants(grants=grants), attempts=1
        )
        if not told:
            for grant in grants:
                self._state.release(grant.job_id)
            self._touch()

    async def _send_stops(self, orders: list[tuple[str, StopOrder]]) -> None:
        await asyncio.gather(
            *(
                tell(ids.job_workflow_id(job_id), "stop", order, attempts=5)
                for job_id, order in orders
            )
        )

    async def _write_rows(self) -> None:
        """Make the state known to readers, at most once a second."""
        while True:
            # Grants leave first: a write takes its time within the workflow task.
            await workflow.wait_condition(
                lambda: self._dirty and not self._changed and self._grants.is_empty
            )
            self._dirty = False
            changes, self._unrecorded = tuple(self._unrecorded.values()), {}
            row = self._state.next_row(_now())
            workflow.set_current_details(
                backend_details(
                    row,
                    configured=self._state.configured,
                    namespace=workflow.info().namespace,
                )
            )
            self._writing = True
            await on_records(RECORD_BACKEND, BackendUpdate(row=row, changes=changes))
            self._writing = False
            await workflow.sleep(
                max(WRITE_PAUSE_S, len(row.queue) / WAITING_PER_SECOND), summary="before next write"
            )

    def _may_continue_as_new(self) -> bool:
        info = workflow.info()
        long = (
            info.is_continue_as_new_suggested()
            or info.get_current_history_length() > self._longest_history
        )
        return (
            long
            and self._grants.is_empty
            and self._stops.is_empty
            and not self._changed
            and not self._unrecorded
            and not self._writing
            and not self._checks.is_at_it
            and workflow.all_handlers_finished()
        )


def _now() -> float:
    return workflow.now().timestamp()
