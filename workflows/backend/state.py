"""What a backend knows: who holds a slot, who waits, the switches, the agents. Pure."""

from collections.abc import Collection, Iterator
from itertools import chain, islice

from rap import ids
from rap.egress import AgentReport, closed_by
from rap.messages.backends import BackendLimits, BackendStart
from rap.messages.orders import LimitsOrder
from rap.messages.packed_queue import pack, unpack
from rap.messages.slots import PassedOver, Reservation, SlotGrant, SlotHold, SlotRequest
from rap.rows import (
    BackendRow,
    BackendUpdate,
    HoldUp,
    JobChange,
    MaintenanceType,
    OrderEntry,
    OrderKind,
)
from rap.sentences import CODE_SENTENCES
from rap.status import StatusCode
from workflows.backend.agents import Agents
from workflows.backend.hosts import Hosts
from workflows.backend.queue import Line, WaitingJobs
from workflows.backend.scheduling import queue_order, schedule
from workflows.backend.windows import OpenWindows
from workflows.rows import queue_entry, slot_entry

KEEP_ORDERS = 50
MOST_WAITING = 25
"""Of the queue that the Web UI shows."""
TOLD_OF_THE_QUEUE = 1000
"""Of the queue that the workflow tells whoever asks it: an answer has bounds."""
EMPTY: dict[str, object] = {"slots": (), "queue": ()}
"""A row is carried over without its jobs, which the reservations tell more of."""


class BackendState:
    """The state behind a ``BackendWorkflow``; every method is a plain step on it."""

    def __init__(self, start: BackendStart) -> None:
        self.slug = start.slug
        self.configured = start.limits
        """The capacity that the settings give it; what an operator orders outranks it."""
        self._ordered_limits = start.ordered_limits
        self.manual_maintenance = start.manual_maintenance
        self.weights = start.weights
        self.windows = OpenWindows(start.windows, start.held_by_window)
        self._passed_over: dict[Line, int] = {
            (line.workspace, line.requires_db): line.times for line in start.passed_over
        }
        # The switches and the orders are kept as readers know them.
        self._row = start.row or BackendRow(slug=start.slug, version=0, updated_at=0.0)
        self._set(checks_disabled=start.checks_disabled)
        self._untold = start.untold
        self.agents = Agents(self._row.agents, self._row.last_seen)
        self.running = {
            job.request.job_id: job for job in start.reservations if job.host is not None
        }
        """The jobs that hold a slot, by their ids."""
        waiting = (job for job in start.reservations if job.host is None)
        self.waiting = WaitingJobs(chain(waiting, unpack(start.waiting)), start.priorities)

    # --- slots ---

    def request(self, rap_id: str, request: SlotRequest, now: float) -> SlotGrant | None:
        """Take a job in; one that waits already for this attempt keeps its place in time.

        Returns:
            What its RAP has forgotten, because somebody reset it: the slot that the job has.
        """
        known = self._job(request.job_id)
        if known is None or known.request.attempt < request.attempt:
            self.release(request.job_id)
            self.waiting.add(Reservation(rap_id=rap_id, request=request, since=now))
        elif known.host is None and known.request.attempt == request.attempt:
            self.waiting.add(known.model_copy(update={"request": request}))
        elif known.host is not None:
            return SlotGrant(job_id=request.job_id, attempt=request.attempt, host=known.host)
        return None

    def release(self, job_id: str) -> None:
        """Let a job go, whether it ran or waited."""
        self.running.pop(job_id, None)
        self.waiting.remove(job_id)

    def release_rap(self, rap_id: str) -> None:
        """Let all jobs of a RAP go, and what was ordered for it."""
        self.keep_only(rap_id, ())
        self.waiting.priorities.pop(rap_id, None)

    def hold(self, rap_id: str, hold: SlotHold, now: float) -> None:
        """Take note of a job that runs in a slot already."""
        known = self._job(hold.request.job_id)
        if known is None or (known.host is None and known.request.attempt == hold.request.attempt):
            self.release(hold.request.job_id)
            self.running[hold.request.job_id] = Reservation(
                rap_id=rap_id, request=hold.request, since=now, host=hold.host
            )

    def keep_only(self, rap_id: str, job_ids: Collection[str]) -> None:
        """Let all other jobs of a RAP go."""
        for job in self._jobs():
            if job.rap_id == rap_id and job.request.job_id not in job_ids:
                self.release(job.request.job_id)

    def rap_ids(self) -> dict[str, set[str]]:
        """The RAPs with running or waiting jobs, or a priority, and their workspaces."""
        raps: dict[str, set[str]] = {rap_id: set() for rap_id in self.waiting.priorities}
        for job in self._jobs():
            raps.setdefault(job.rap_id, set()).add(job.request.workspace)
        return raps

    def grant(self, now: float) -> Iterator[tuple[str, SlotGrant]]:
        """Grant what can be granted; yields with each grant the workflow to be told of it."""
        plan = schedule(
            self.running.values(),
            self.waiting,
            limits=self.limits,
            hosts=Hosts(self.agents.room(self.running, now), self.agents.living(now)),
            paused=self.is_paused,
            maintenance=self.maintenance is not None,
            passed_over=self._passed_over,
        )
        self._passed_over = plan.passed_over
        for grant in plan.grants:
            job = self.waiting.pop(grant.job_id)
            self.running[grant.job_id] = job.model_copy(update={"host": grant.host, "since": now})
            yield ids.rap_workflow_id(job.request.workspace, job.rap_id), grant

    def _job(self, job_id: str) -> Reservation | None:
        return self.running.get(job_id) or self.waiting.get(job_id)

    def _jobs(self) -> tuple[Reservation, ...]:
        return (*self.running.values(), *self.waiting)

    # --- agents ---

    def stages(self, report: AgentReport, now: float) -> Iterator[JobChange]:
        """The stages of our jobs in an agent's report, for the read model.

        Their times are the agent's, as far as they lie within the life of the job by our clock.
        """
        for progress in report.jobs:
            job = self.running.get(progress.job_id)
            if job is not None and job.request.attempt == progress.attempt:
                code = StatusCode(progress.stage.value)
                yield JobChange(
                    job_id=progress.job_id,
                    attempt=progress.attempt,
                    code=code,
                    message=CODE_SENTENCES[code],
                    at=min(max(progress.since, job.request.created_at), now),
                    metrics=progress.metrics,
                )

    # --- orders ---

    @property
    def limits(self) -> BackendLimits:
        """The capacity in force: as ordered, else as configured."""
        if self._ordered_limits is None:
            return self.configured
        ordered = self._ordered_limits.model_dump(
            include=set(BackendLimits.model_fields), exclude_none=True
        )
        return self.configured.model_copy(update=ordered)

    def order_limits(self, order: LimitsOrder) -> None:
        """Take an operator's limits in place of the configured ones; without any, the latter."""
        limited = (order.max_workers, order.max_db_workers) != (None, None)
        self._ordered_limits = order if limited else None

    def log_order(
        self, kind: OrderKind, *, now: float, by: str, why: str, detail: str = ""
    ) -> None:
        """Keep who ordered what, when and why; the same order again is no news."""
        entry = OrderEntry(at=now, kind=kind, detail=detail, by=by, why=why)
        orders = self._row.orders
        if not orders or orders[-1].model_copy(update={"at": now}) != entry:
            self._set(orders=(*orders, entry)[-KEEP_ORDERS:])

    # --- switches ---

    @property
    def is_paused(self) -> bool:
        """Whether no job starts."""
        return self._row.paused

    @property
    def checks_disabled(self) -> bool:
        """Whether the database is not asked about maintenance, by an operator's wish."""
        return self._row.checks_disabled

    @property
    def maintenance(self) -> MaintenanceType | None:
        """Which maintenance the database is in, if any."""
        return self._row.maintenance_type if self._row.maintenance else None

    def set_paused(self, *, on: bool, now: float) -> None:
        """Pause or unpause; repeated, it keeps the first time (docs/spec/controller.md 2.3)."""
        if self.is_paused != on:
            self._set(paused=on, paused_since=now)

    def set_maintenance(self, kind: MaintenanceType | None, *, now: float) -> bool:
        """Enter, leave or relabel database maintenance; false if nothing changed.

        Going from scheduled to manual changes the type but not the time (docs/spec/rap-api.md A5).
        """
        if self.maintenance is kind:
            return False
        if (self.maintenance is None) != (kind is None):
            self._set(maintenance_since=now)
        self._set(maintenance=kind is not None, maintenance_type=kind)
        return True

    def set_manual(self, *, on: bool, disable_checks: bool, now: float) -> None:
        """Let an operator's word count instead of the checks', and those go on or not."""
        disabled = on and disable_checks
        if self.manual_maintenance != on:
            self.manual_maintenance = on
            self._set(manual_since=now)
        if self.checks_disabled != disabled:
            self._set(checks_disabled=disabled, checks_disabled_since=now)

    def _set(self, **fields: object) -> None:
        self._row = self._row.model_copy(update=fields)

    # --- what readers know ---

    def row(self, now: float, *, first: int = TOLD_OF_THE_QUEUE) -> BackendRow:
        """The backend as readers know it, but with the ``first`` jobs of its queue alone."""
        hold_up = HoldUp.NONE
        if self.is_paused:
            hold_up = HoldUp.PAUSED
        elif not (living := self.agents.living(now)):
            hold_up = HoldUp.NO_AGENT
        elif closed_by(living.values()):
            hold_up = HoldUp.CLOSED
        running = self.running.values()
        return self._row.model_copy(
            update={
                **self.limits.model_dump(),
                "hold_up": hold_up,
                "slots": tuple(slot_entry(job) for job in running),
                "waiting": len(self.waiting),
                "queue": tuple(
                    queue_entry(job) for job in islice(queue_order(running, self.waiting), first)
                ),
                "agents": self.agents.known(now),
                "last_seen": self.agents.last_seen,
                "limits_ordered": self._ordered_limits is not None,
                "priorities": dict(self.waiting.priorities),
                "windows": dict(self.windows.by_name),
                "held_by_window": self.windows.held,
                "updated_at": now,
            }
        )

    def update(self, now: float, changes: tuple[JobChange, ...]) -> BackendUpdate:
        """The same under a new version, to be written with what changed in the queue and of jobs.

        Versions follow the clock, so that a workflow started afresh is not taken for an old one.
        """
        self._set(version=max(self._row.version + 1, int(now * 1000)))
        row = self.row(now, first=MOST_WAITING)
        untold, changed = self._untold, self.waiting.changed()
        self._untold = ()
        if untold is None:
            queued = tuple(map(queue_entry, self.waiting))
            return BackendUpdate(row=row, changes=changes, queued=queued, whole_queue=True)
        jobs = {job_id: self.waiting.get(job_id) for job_id in (*untold, *changed)}
        return BackendUpdate(
            row=row,
            changes=changes,
            queued=tuple(queue_entry(job) for job in jobs.values() if job is not None),
            unqueued=tuple(job_id for job_id, job in jobs.items() if job is None),
        )

    def carried_over(self) -> BackendStart:
        """Everything, for the next run of the workflow."""
        row = self.row(self.agents.last_seen or 0.0, first=0)
        untold = self._untold
        if untold is not None:
            untold = tuple(dict.fromkeys((*untold, *self.waiting.changed())))
        return BackendStart(
            slug=self.slug,
            limits=self.configured,
            ordered_limits=self._ordered_limits,
            windows=row.windows,
            held_by_window=row.held_by_window,
            priorities=row.priorities,
            passed_over=tuple(
                PassedOver(workspace=workspace, requires_db=requires_db, times=times)
                for (workspace, requires_db), times in self._passed_over.items()
            ),
            weights=self.weights,
            untold=untold,
            row=row.model_copy(update=EMPTY),
            reservations=tuple(self.running.values()),
            waiting=pack(self.waiting),
            manual_maintenance=self.manual_maintenance,
            checks_disabled=self.checks_disabled,
        )
