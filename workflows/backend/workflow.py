"""One backend: its worker slots, its waiting queue, its switches, and the agents last seen.

The decision who runs next is :func:`workflows.backend.scheduling.schedule`; this workflow keeps
what that decision is made of, carries it out, and makes it known.
"""

import asyncio

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from rap.contracts import workflows as contracts
    from rap.egress import AgentReport
    from rap.messages import orders
    from rap.messages.backends import BackendLimits, BackendStart, Errand, ErrandKind
    from rap.messages.jobs import StopOrder, StopReason
    from rap.messages.slots import SlotDelta
    from rap.rows import BackendRow, MaintenanceType, OpenWindow, OrderKind
    from rap.windows import WindowKind
    from workflows.backend.database_checks import CheckSwitchboard
    from workflows.backend.errands import ErrandList, Runner
    from workflows.backend.healing import Watch
    from workflows.backend.maintenance import set_maintenance
    from workflows.backend.messages import BackendMessages
    from workflows.backend.start import STEP_LIMIT, that_fits
    from workflows.backend.state import BackendState
    from workflows.outbox import settle
    from workflows.run_length import TOLD, RunLength

NOBODY_CLOSED = "planned end; the window's workflow was missing"


@workflow.defn(name=contracts.BACKEND.name)
class BackendWorkflow:
    """Grants worker slots for as long as the backend exists."""

    @workflow.init
    def __init__(self, start: BackendStart) -> None:
        self._length = RunLength(start.longest_history)
        self._state = BackendState(start)
        self._errands = ErrandList(start.errands)
        self._messages = BackendMessages(
            self._state,
            self._errands,
            self._length,
            unrecorded=start.unrecorded,
            written_at=start.written_at,
        )
        self._watch = Watch(
            self._state,
            self._errands,
            self._length,
            every_s=start.look_round_s,
            due=start.looks_round_at,
            touch=self._messages.touch,
            close_windows=self._close_windows,
        )
        self._checks = CheckSwitchboard(self._state, settled=start.checks_settled)

    @workflow.run
    async def run(self, start: BackendStart) -> None:
        """Serve for ever, continuing as new from time to time."""
        if start.recovering:
            # What runs must be known before anything is granted.
            await self._watch.recover()
        serving = [
            *self._messages.deliver(),
            asyncio.create_task(self._watch.run()),
            asyncio.create_task(Runner(self._state, self._errands, self._length).run()),
            asyncio.create_task(self._checks.run()),
        ]
        await settle(lambda: self._length.is_long, serving)
        self._messages.wind_down()
        await settle(self._is_idle, serving)
        workflow.continue_as_new(
            that_fits(self._carried_over(start), waiting=len(self._state.waiting)),
            task_timeout=STEP_LIMIT,
        )

    def _carried_over(self, start: BackendStart) -> BackendStart:
        return self._state.carried_over().model_copy(
            update={
                "look_round_s": start.look_round_s,
                "longest_history": start.longest_history,
                "checks_settled": self._checks.is_settled,
                "errands": self._errands.carried_over,
                "unrecorded": self._messages.unrecorded,
                "written_at": self._messages.written_at,
                "looks_round_at": self._watch.due,
            }
        )

    # --- what RAPs, agents and operators tell us ---

    @workflow.signal(name=contracts.SLOTS.name)
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
            self._state.hold(delta.rap_id, hold, workflow.time())
        for request in delta.requests:
            grant = self._state.request(delta.rap_id, request, workflow.time())
            if grant is not None:
                self._messages.grant_again(delta.rap_id, request.workspace, grant)
        self._messages.touch()

    @workflow.signal(name=contracts.REPORT.name)
    def report(self, report: AgentReport) -> None:
        """Take an agent's sign of life, and the stages of its jobs."""
        self._state.agents.take(report, workflow.time())
        self._messages.record(self._state.stages(report, workflow.time()))
        self._messages.touch()

    @workflow.signal(name=contracts.CONFIGURE.name)
    def configure(self, limits: BackendLimits) -> None:
        """Take the configured capacity; running jobs are not affected."""
        self._state.configured = limits
        self._checks.look_again()
        self._messages.touch()

    @workflow.signal(
        name=contracts.LIMITS.name,
        description='Set the capacity: {"max_workers": 12, "by": "me"}; {} for the configured one',
    )
    def limits(self, order: orders.LimitsOrder) -> None:
        """Set the capacity until further notice; an order without numbers ends that."""
        self._state.order_limits(order)
        numbers = (("workers", order.max_workers), ("db workers", order.max_db_workers))
        detail = ", ".join(f"{name} {value:g}" for name, value in numbers if value is not None)
        self._log_order(OrderKind.LIMITS, order, detail or "as configured")

    @workflow.signal(
        name=contracts.PRIORITISE.name,
        description='Set how urgent a RAP is, 1 to 5: {"rap_id": "…", "priority": 1, "by": "me"}',
    )
    def prioritise(self, order: orders.PriorityOrder) -> None:
        """Set how urgent a RAP is: its jobs are considered before those of lesser priority."""
        self._state.waiting.prioritise(order.rap_id, order.priority)
        self._log_order(OrderKind.PRIORITY, order, f"{order.rap_id} {order.priority}")

    @workflow.signal(
        name=contracts.PAUSE.name,
        description='Start no more jobs, or again: {"on": true, "by": "me", "why": "disk"}',
    )
    def pause(self, switch: orders.Switch) -> None:
        """Start no more jobs, or start them again (docs/spec/controller.md 12.1)."""
        self._state.windows.outranked(WindowKind.PAUSE)
        self._state.set_paused(on=switch.on, now=workflow.time())
        self._log_order(OrderKind.PAUSE if switch.on else OrderKind.UNPAUSE, switch)

    @workflow.signal(
        name=contracts.DATABASE_MAINTENANCE.name,
        description='Hold database jobs, or not: {"on": true, "by": "me", "why": "new data"}',
    )
    def database_maintenance(self, switch: orders.Switch) -> None:
        """Switch database maintenance by hand; off hands it back to the periodic check (12.3)."""
        self._state.windows.outranked(WindowKind.MAINTENANCE)
        self._state.set_manual(
            on=switch.on, disable_checks=switch.disable_checks, now=workflow.time()
        )
        set_maintenance(self._state, self._messages, MaintenanceType.MANUAL if switch.on else None)
        detail = "checks disabled" if self._state.checks_disabled else ""
        kind = OrderKind.MAINTENANCE_ON if switch.on else OrderKind.MAINTENANCE_OFF
        self._log_order(kind, switch, detail)

    @workflow.signal(name=contracts.DATABASE_MODE.name)
    def database_mode(self, mode: orders.DatabaseMode) -> None:
        """Take the finding of a periodic check; a manual setting outranks it."""
        self._length.add(TOLD)
        if not self._state.manual_maintenance:
            set_maintenance(
                self._state, self._messages, MaintenanceType.SCHEDULED if mode.maintenance else None
            )

    @workflow.signal(
        name=contracts.PREPARE_FOR_REBOOT.name,
        description='Pause, and send running jobs back to waiting: {"by": "me", "why": "kernel"}',
    )
    def prepare_for_reboot(self, order: orders.RebootOrder) -> None:
        """Pause, and send every running job back to waiting (12.5)."""
        self._state.windows.outranked(WindowKind.REBOOT)
        self._reboot(order.by)
        self._log_order(OrderKind.PREPARE_FOR_REBOOT, order)

    @workflow.signal(name=contracts.WINDOW.name)
    def window(self, order: orders.WindowOrder) -> None:
        """Do what a maintenance window is for, and undo it at its end; operators outrank it."""
        windows = self._state.windows
        switch: WindowKind | None = order.kind
        if not order.opens:
            switch = windows.closes(order.name)
        else:
            maintains = order.kind is WindowKind.MAINTENANCE
            is_on = self._state.manual_maintenance if maintains else self._state.is_paused
            until = None if order.seconds is None else workflow.time() + order.seconds
            opened = OpenWindow(kind=order.kind, until=until, workflow_id=order.workflow_id)
            if not windows.opens(order.name, opened, is_on=is_on):
                switch = None
        if switch is WindowKind.MAINTENANCE:
            self._state.set_manual(on=order.opens, disable_checks=False, now=workflow.time())
            set_maintenance(
                self._state, self._messages, MaintenanceType.MANUAL if order.opens else None
            )
        elif switch is WindowKind.REBOOT:
            self._reboot(order.by)
        elif switch is WindowKind.PAUSE:
            self._state.set_paused(on=order.opens, now=workflow.time())
        kind = OrderKind.WINDOW_BEGINS if order.opens else OrderKind.WINDOW_ENDS
        self._log_order(kind, order, f"{order.name}: {order.kind}")

    @workflow.signal(
        name=contracts.HOST_LOST.name,
        description='Run the jobs of a dead host elsewhere: {"host": "main", "by": "me"}',
    )
    def host_lost(self, lost: orders.LostHost) -> None:
        """Give up a host that will not come back: its jobs run again elsewhere."""
        jobs = [job for job in self._state.running.values() if job.host == lost.host]
        self._state.agents.forget(lost.host)
        self._messages.stop(jobs, StopOrder(reason=StopReason.HOST_LOST, by=lost.by))
        # What waits for the host otherwise waits in a RAP.
        for rap_id, workspace in dict.fromkeys((job.rap_id, job.request.workspace) for job in jobs):
            self._errands.put(
                Errand(
                    kind=ErrandKind.HOST_LOST,
                    rap_id=rap_id,
                    workspace=workspace,
                    host=lost.host,
                )
            )
        self._log_order(OrderKind.HOST_LOST, lost, lost.host)

    @workflow.query(name=contracts.BACKEND_STATE.name)
    def state(self) -> BackendRow:
        """Show the backend as readers know it."""
        return self._state.row(workflow.time())

    def _close_windows(self) -> None:
        for name in self._state.windows.overdue(workflow.time()):
            kind = self._state.windows.by_name[name].kind
            self.window(orders.WindowOrder(name=name, kind=kind, opens=False, why=NOBODY_CLOSED))

    def _reboot(self, by: str) -> None:
        self._state.set_paused(on=True, now=workflow.time())
        self._messages.stop(
            self._state.running.values(), StopOrder(reason=StopReason.REBOOT, by=by)
        )

    def _log_order(self, kind: OrderKind, order: orders.Order, detail: str = "") -> None:
        self._state.log_order(kind, now=workflow.time(), by=order.by, why=order.why, detail=detail)
        self._messages.touch()

    def _is_idle(self) -> bool:
        """Whether all that is not carried over has been carried out."""
        return (
            self._messages.are_delivered
            and not self._checks.is_at_it
            and workflow.all_handlers_finished()
        )
