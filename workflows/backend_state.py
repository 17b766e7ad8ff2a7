"""What a backend knows: who holds a slot, who waits, the switches, the agents. Pure."""

from collections.abc import Collection, Iterator

from rap.egress import AgentReport
from rap.messages import (
    BackendLimits,
    BackendStart,
    CheckSwitches,
    LimitsOrder,
    PassedOver,
    PriorityOrder,
    Reservation,
    SlotGrant,
    SlotHold,
    SlotRequest,
)
from rap.rows import (
    BackendRow,
    HoldUp,
    JobChange,
    MaintenanceType,
    OrderEntry,
    OrderKind,
)
from rap.status import StatusCode
from workflows.agents import Agents
from workflows.maintenance_windows import OpenWindows
from workflows.rows import queue_entry, slot_entry
from workflows.scheduling import queue_order, schedule
from workflows.waiting import Line, WaitingJobs

KEEP_ORDERS = 50


class BackendState:
    """The state behind a ``BackendWorkflow``; every method is a plain step on it."""

    def __init__(self, start: BackendStart) -> None:
        self.slug = start.slug
        self._configured, self._ordered_limits = start.limits, start.ordered_limits
        self.manual_maintenance = start.manual_maintenance
        self.checks_disabled = start.checks_disabled
        self.weights = start.weights
        self.windows = OpenWindows(start.windows, start.held_by_window)
        self._passed_over: dict[Line, int] = {
            (line.workspace, line.requires_db): line.times for line in start.passed_over
        }
        row = start.row or BackendRow(slug=start.slug, version=0, updated_at=0.0)
        self._version = row.version
        self._paused, self._paused_since = row.paused, row.paused_since
        self._maintenance = row.maintenance_type if row.maintenance else None
        self._maintenance_since = row.maintenance_since
        self._manual_since = row.manual_since
        self._checks_disabled_since = row.checks_disabled_since
        self._agents = Agents(row.agents, row.last_seen)
        self._running = {
            job.request.job_id: job for job in start.reservations if job.host is not None
        }
        self._waiting = WaitingJobs(
            (job for job in start.reservations if job.host is None), start.priorities
        )
        self._orders = row.orders

    # --- slots ---

    def request(self, rap_id: str, request: SlotRequest, now: float) -> None:
        """Take a job in; one that waits already for this attempt keeps its place in time."""
        known = self._job(request.job_id)
        if known is None or known.request.attempt < request.attempt:
            self.release(request.job_id)
            self._waiting.add(Reservation(rap_id=rap_id, request=request, since=now))
        elif known.host is None and known.request.attempt == request.attempt:
            self._waiting.add(known.model_copy(update={"request": request}))

    def release(self, job_id: str) -> None:
        """Let a job go, whether it ran or waited."""
        self._running.pop(job_id, None)
        self._waiting.remove(job_id)

    def release_rap(self, rap_id: str) -> None:
        """Let all jobs of a RAP go, and what was ordered for it."""
        for job in [*self._running.values(), *self._waiting]:
            if job.rap_id == rap_id:
                self.release(job.request.job_id)
        self._waiting.priorities.pop(rap_id, None)

    def hold(self, rap_id: str, hold: SlotHold, now: float) -> None:
        """Take note of a job that runs in a slot already."""
        known = self._job(hold.request.job_id)
        if known is None or (known.host is None and known.request.attempt == hold.request.attempt):
            self.release(hold.request.job_id)
            self._running[hold.request.job_id] = Reservation(
                rap_id=rap_id, request=hold.request, since=now, host=hold.host
            )

    def keep_only(self, rap_id: str, job_ids: Collection[str]) -> None:
        """Let all other jobs of a RAP go."""
        for job in [*self._running.values(), *self._waiting]:
            if job.rap_id == rap_id and job.request.job_id not in job_ids:
                self.release(job.request.job_id)

    def doubtful_slots(self, now: float) -> list[Reservation]:
        """The slots that have been held for a while by jobs that no agent reports."""
        return list(self._agents.unreported(self._running, now))

    def running(self) -> list[Reservation]:
        """The jobs that hold a slot."""
        return list(self._running.values())

    def waiting(self) -> list[Reservation]:
        """The jobs that wait for a slot."""
        return list(self._waiting)

    def rap_ids(self) -> dict[str, set[str]]:
        """The RAPs with running or waiting jobs, or a priority, and their workspaces."""
        raps: dict[str, set[str]] = {rap_id: set() for rap_id in self._waiting.priorities}
        for job in (*self._running.values(), *self._waiting):
            raps.setdefault(job.rap_id, set()).add(job.request.workspace)
        return raps

    def grant(self, now: float) -> Iterator[tuple[str, SlotGrant]]:
        """Grant what can be granted; yields the RAP to be told with each grant."""
        plan = schedule(
            self._running.values(),
            self._waiting,
            limits=self.limits,
            room=self._agents.room(self._running, now),
            paused=self._paused,
            maintenance=self._maintenance is not None,
            passed_over=self._passed_over,
        )
        self._passed_over = plan.passed_over
        for grant in plan.grants:
            job = self._waiting.remove(grant.job_id)
            if job is not None:
                granted = job.model_copy(update={"host": grant.host, "since": now})
                self._running[grant.job_id] = granted
                yield job.rap_id, grant

    def _job(self, job_id: str) -> Reservation | None:
        return self._running.get(job_id) or self._waiting.get(job_id)

    # --- agents ---

    def take_report(self, report: AgentReport, now: float) -> list[JobChange]:
        """Take an agent's report.

        Returns:
            The stages of its jobs, for the read model.
        """
        self._agents.take(report, now)
        changes = []
        for progress in report.jobs:
            job = self._running.get(progress.job_id)
            if job is None or job.request.attempt != progress.attempt:
                continue
            code = StatusCode(progress.stage.value)
            changes.append(
                JobChange(
                    job_id=progress.job_id,
                    attempt=progress.attempt,
                    code=code,
                    message=code.message,
                    at=progress.since,
                    metrics=progress.metrics,
                )
            )
        return changes

    def forget_host(self, host: str) -> None:
        """Expect nothing more from a host."""
        self._agents.forget(host)

    # --- orders ---

    @property
    def limits(self) -> BackendLimits:
        """The capacity in force: as ordered, else as configured."""
        ordered = self._ordered_limits
        if ordered is None:
            return self._configured
        return BackendLimits(
            max_workers=_first(ordered.max_workers, self._configured.max_workers),
            max_db_workers=_first(ordered.max_db_workers, self._configured.max_db_workers),
        )

    @property
    def configured(self) -> BackendLimits:
        """The capacity that the settings give it."""
        return self._configured

    def configure(self, limits: BackendLimits) -> None:
        """Take the configured capacity; what an operator ordered stays in force."""
        self._configured = limits

    def order_limits(self, order: LimitsOrder) -> None:
        """Take an operator's limits in place of the configured ones; without any, the latter."""
        limited = (order.max_workers, order.max_db_workers) != (None, None)
        self._ordered_limits = order if limited else None

    def prioritise(self, order: PriorityOrder) -> None:
        """Set how urgent a RAP is."""
        self._waiting.prioritise(order.rap_id, order.priority)

    def note_order(
        self, kind: OrderKind, *, now: float, by: str, why: str, detail: str = ""
    ) -> None:
        """Keep who ordered what, when and why; the same order again is no news."""
        entry = OrderEntry(at=now, kind=kind, detail=detail, by=by, why=why)
        last = self._orders[-1] if self._orders else None
        if last is None or last.model_copy(update={"at": now}) != entry:
            self._orders = (*self._orders, entry)[-KEEP_ORDERS:]

    # --- switches ---

    @property
    def is_paused(self) -> bool:
        """Whether no job starts."""
        return self._paused

    def set_paused(self, *, on: bool, now: float) -> bool:
        """Pause or unpause; false if that was so already (controller.md 2.3)."""
        if self._paused == on:
            return False
        self._paused, self._paused_since = on, now
        return True

    def set_maintenance(self, kind: MaintenanceType | None, *, now: float) -> bool:
        """Enter, leave or relabel database maintenance; false if nothing changed.

        Going from scheduled to manual changes the type but not the time (rap-api.md A5).
        """
        if self._maintenance is kind:
            return False
        if (self._maintenance is None) != (kind is None):
            self._maintenance_since = now
        self._maintenance = kind
        return True

    def set_manual(self, *, on: bool, disable_checks: bool, now: float) -> None:
        """Let an operator's word count instead of the checks', and those go on or not."""
        disabled = on and disable_checks
        if self.manual_maintenance != on:
            self.manual_maintenance, self._manual_since = on, now
        if self.checks_disabled != disabled:
            self.checks_disabled, self._checks_disabled_since = disabled, now

    def wanted_checks(self) -> CheckSwitches:
        """Which checks of the database are to be made (controller.md 12.3, 12.4)."""
        return CheckSwitches(
            backend=self.slug,
            status=not (self.manual_maintenance and self.checks_disabled),
            data=self._maintenance is None,
        )

    # --- what readers know ---

    def row(self, now: float) -> BackendRow:
        """The backend as readers know it."""
        hold_up = HoldUp.NONE
        if self._paused:
            hold_up = HoldUp.PAUSED
        elif not self._agents.living(now):
            hold_up = HoldUp.NO_AGENT
        return BackendRow(
            slug=self.slug,
            version=self._version,
            paused=self._paused,
            paused_since=self._paused_since,
            maintenance=self._maintenance is not None,
            maintenance_since=self._maintenance_since,
            maintenance_type=self._maintenance,
            manual_since=self._manual_since,
            checks_disabled=self.checks_disabled,
            checks_disabled_since=self._checks_disabled_since,
            max_workers=self.limits.max_workers,
            max_db_workers=self.limits.max_db_workers,
            hold_up=hold_up,
            slots=tuple(slot_entry(job) for job in self._running.values()),
            queue=tuple(
                queue_entry(job) for job in queue_order(self._running.values(), self._waiting)
            ),
            agents=self._agents.known(now),
            last_seen=self._agents.last_seen,
            limits_ordered=self._ordered_limits is not None,
            priorities=dict(self._waiting.priorities),
            windows=dict(self.windows.by_name),
            held_by_window=self.windows.held,
            orders=self._orders,
            updated_at=now,
        )

    def next_row(self, now: float) -> BackendRow:
        """The same under a new version, to be written.

        Versions follow the clock, so that a workflow started afresh is not taken for an old one.
        """
        self._version = max(self._version + 1, int(now * 1000))
        return self.row(now)

    def carried_over(self) -> BackendStart:
        """Everything, for the next run of the workflow."""
        return BackendStart(
            slug=self.slug,
            limits=self._configured,
            ordered_limits=self._ordered_limits,
            windows=dict(self.windows.by_name),
            held_by_window=self.windows.held,
            priorities=dict(self._waiting.priorities),
            passed_over=tuple(
                PassedOver(workspace=workspace, requires_db=requires_db, times=times)
                for (workspace, requires_db), times in self._passed_over.items()
            ),
            weights=self.weights,
            row=self.row(self._agents.last_seen or 0.0).model_copy(
                update={"slots": (), "queue": ()}
            ),
            reservations=(*self._running.values(), *self._waiting),
            manual_maintenance=self.manual_maintenance,
            checks_disabled=self.checks_disabled,
        )


def _first(ordered: float | None, configured: float) -> float:
    return configured if ordered is None else ordered
