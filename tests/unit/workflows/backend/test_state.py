"""The life of a backend as a state machine: slots, switches and orders in any order."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from rap.egress import AgentReport, JobProgress, Stage
from rap.messages.backends import BackendLimits, BackendStart
from rap.messages.orders import LimitsOrder
from rap.messages.slots import SlotRequest
from rap.queue_order import in_order
from rap.rows import MaintenanceType, OrderKind, QueueEntry
from rap.status import StatusCode
from workflows.backend.agents import UNREPORTED_FOR_S
from workflows.backend.scheduling import queue_order
from workflows.backend.state import KEEP_ORDERS, MOST_WAITING, BackendState
from workflows.rows import queue_entry

pytestmark = pytest.mark.unit

LIMITS = BackendLimits(max_workers=4, max_db_workers=2)
RAPS = st.sampled_from(["rap1", "rap2", "rap3"])
NUMBERS = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 3.0, 5.0]))


class Backend(RuleBasedStateMachine):
    """Every step decides at once, as the workflow does."""

    waiting = Bundle("waiting")

    def __init__(self) -> None:
        super().__init__()
        self.state = BackendState(BackendStart(slug="b", limits=LIMITS))
        self.now = 1000.0
        self.requests: dict[str, SlotRequest] = {}
        self.running: dict[str, SlotRequest] = {}
        self.paused = self.maintenance = False
        self.ordered: LimitsOrder | None = None
        self.read: dict[str, QueueEntry] = {}
        self.report()

    def decide(self) -> None:
        before = self.used()
        room = 50 - len(self.running)
        for rap, grant in self.state.grant(self.now):
            request = self.requests.pop(grant.job_id)
            assert grant.attempt == request.attempt
            assert grant.host == "h"
            assert rap.startswith("rap/")
            assert not self.paused
            assert not (self.maintenance and request.requires_db)
            self.running[grant.job_id] = request
            room -= 1
        assert room >= 0
        for kind, used in self.used().items():
            # A limit that was lowered below what runs takes nothing away, and gives nothing.
            assert used <= max(before[kind], self.limit(requires_db=kind))
        self.nothing_waits_that_could_run()

    def nothing_waits_that_could_run(self) -> None:
        if self.paused:
            return
        used = self.used()
        for request in self.requests.values():
            kind = request.requires_db
            held = self.maintenance and kind
            assert held or used[kind] + request.weight > self.limit(requires_db=kind)

    def used(self) -> dict[bool, float]:
        totals = {False: 0.0, True: 0.0}
        for request in self.running.values():
            totals[request.requires_db] += request.weight
        return totals

    def limit(self, *, requires_db: bool) -> float:
        configured = LIMITS.max_db_workers if requires_db else LIMITS.max_workers
        if self.ordered is None:
            return configured
        number = self.ordered.max_db_workers if requires_db else self.ordered.max_workers
        return configured if number is None else number

    @rule(
        target=waiting,
        number=st.integers(0, 40),
        rap_id=RAPS,
        workspace=st.sampled_from(["w1", "w2", "w3"]),
        requires_db=st.booleans(),
        weight=st.sampled_from([0.5, 1.0, 2.0, 4.0, 9.0]),
    )
    def ask(
        self, number: int, rap_id: str, workspace: str, requires_db: bool, weight: float
    ) -> str:
        job_id = f"{rap_id}-{number}"
        if job_id in self.running:
            return job_id
        request = SlotRequest(
            job_id=job_id,
            workspace=workspace,
            requires_db=requires_db,
            weight=weight,
            created_at=number,
            attempt=1,
        )
        self.state.request(rap_id, request, self.now)
        self.requests[job_id] = request
        self.decide()
        return job_id

    @rule(job_id=consumes(waiting))
    def let_go(self, job_id: str) -> None:
        self.state.release(job_id)
        self.requests.pop(job_id, None)
        self.running.pop(job_id, None)
        self.decide()

    @rule(rap_id=RAPS)
    def lose_rap(self, rap_id: str) -> None:
        self.state.release_rap(rap_id)
        for jobs in (self.requests, self.running):
            for job_id in [job for job in jobs if job.startswith(rap_id)]:
                del jobs[job_id]
        self.decide()

    @rule(on=st.booleans())
    def pause(self, on: bool) -> None:
        self.state.set_paused(on=on, now=self.now)
        self.paused = on
        self.decide()

    @rule(kind=st.sampled_from([None, *MaintenanceType]))
    def maintain(self, kind: MaintenanceType | None) -> None:
        self.state.set_maintenance(kind, now=self.now)
        self.maintenance = kind is not None
        self.decide()

    @rule(workers=NUMBERS, db_workers=NUMBERS)
    def limit_to(self, workers: float | None, db_workers: float | None) -> None:
        order = LimitsOrder(max_workers=workers, max_db_workers=db_workers)
        self.state.order_limits(order)
        self.ordered = None if workers is None and db_workers is None else order
        self.decide()

    @rule(rap_id=RAPS, priority=st.integers(1, 5))
    def prioritise(self, rap_id: str, priority: int) -> None:
        self.state.waiting.prioritise(rap_id, priority)
        self.decide()

    @rule()
    def report(self) -> None:
        self.now += 10
        report = AgentReport(backend="b", host="h", at=self.now, room=50 - len(self.running))
        self.state.agents.take(report, self.now)
        self.decide()

    @rule()
    def continue_as_new(self) -> None:
        carried = BackendStart.model_validate_json(self.state.carried_over().model_dump_json())
        self.state = BackendState(carried)

    @rule()
    def tell_readers(self) -> None:
        update = self.state.update(self.now, ())
        if update.whole_queue:
            self.read.clear()
        for job_id in update.unqueued:
            self.read.pop(job_id, None)
        self.read |= {entry.job_id: entry for entry in update.queued}
        row = update.row.model_copy(update={"queue": ()})
        running = self.state.running.values()
        order = [queue_entry(job) for job in queue_order(running, self.state.waiting)]
        assert list(in_order(self.read.values(), row.slots, row.priorities)) == order
        assert row.waiting == len(order)
        assert update.row.queue == tuple(order[:MOST_WAITING])

    @invariant()
    def every_job_is_where_it_should_be(self) -> None:
        assert {job.request.job_id for job in self.state.running.values()} == set(self.running)
        assert {job.request.job_id for job in self.state.waiting} == set(self.requests)
        row = self.state.row(self.now)
        assert sorted(entry.job_id for entry in row.queue) == sorted(self.requests)
        assert (row.max_workers, row.max_db_workers) == (
            self.limit(requires_db=False),
            self.limit(requires_db=True),
        )


TestBackend = Backend.TestCase
TestBackend.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)


def state() -> BackendState:
    return BackendState(BackendStart(slug="b", limits=LIMITS))


def test_ordered_limits_outlast_a_new_configuration_until_they_are_taken_back() -> None:
    backend = state()
    backend.order_limits(LimitsOrder(max_workers=7))
    assert backend.limits == BackendLimits(max_workers=7, max_db_workers=2)
    backend.configured = BackendLimits(max_workers=10, max_db_workers=9)
    assert backend.limits == BackendLimits(max_workers=7, max_db_workers=9)
    assert backend.row(0).limits_ordered
    backend.order_limits(LimitsOrder())
    assert backend.limits == BackendLimits(max_workers=10, max_db_workers=9)
    assert not backend.row(0).limits_ordered


def test_a_job_that_waits_may_be_weighed_again_without_losing_its_place_in_time() -> None:
    backend = state()
    request = SlotRequest(
        job_id="j", workspace="w", requires_db=False, weight=9, created_at=0, attempt=1
    )
    backend.request("r", request, 5.0)
    backend.request("r", request.model_copy(update={"weight": 2}), 8.0)
    (waiting,) = backend.waiting
    assert (waiting.request.weight, waiting.since) == (2, 5.0)


def test_orders_are_kept_with_who_when_and_why_and_a_repeated_one_only_once() -> None:
    backend = state()
    for now in (1.0, 2.0):
        backend.log_order(OrderKind.PAUSE, now=now, by="ada", why="disk swap")
    backend.log_order(OrderKind.UNPAUSE, now=3.0, by="bob", why="")
    orders = backend.row(4.0).orders
    assert [(one.at, one.kind, one.by, one.why) for one in orders] == [
        (1.0, OrderKind.PAUSE, "ada", "disk swap"),
        (3.0, OrderKind.UNPAUSE, "bob", ""),
    ]
    for number in range(2 * KEEP_ORDERS):
        backend.log_order(OrderKind.LIMITS, now=number, by="ada", why="", detail=str(number))
    assert len(backend.row(0).orders) == KEEP_ORDERS


def test_the_usual_priority_is_not_kept() -> None:
    backend = state()
    backend.waiting.prioritise("r", 1)
    assert backend.row(0).priorities == {"r": 1}
    assert "r" in backend.rap_ids()
    backend.waiting.prioritise("r", 3)
    assert backend.row(0).priorities == {}


def test_the_switches_of_manual_maintenance_keep_the_times_of_their_changes() -> None:
    limits = BackendLimits(max_workers=1, max_db_workers=1)
    state = BackendState(BackendStart(slug="tpp", limits=limits))
    state.set_manual(on=True, disable_checks=True, now=1.0)
    state.set_manual(on=True, disable_checks=True, now=2.0)
    state.set_manual(on=True, disable_checks=False, now=3.0)
    row = BackendState(state.carried_over()).row(4.0)
    assert (row.manual_since, row.checks_disabled, row.checks_disabled_since) == (1.0, False, 3.0)
    state.set_manual(on=False, disable_checks=True, now=5.0)
    assert (state.row(6.0).manual_since, state.row(6.0).checks_disabled_since) == (5.0, 3.0)


REQUEST = SlotRequest(job_id="j", workspace="w", requires_db=False, created_at=0, attempt=2)


def test_a_request_of_an_earlier_attempt_or_of_a_running_one_changes_nothing() -> None:
    backend = state()
    backend.request("r", REQUEST, 5.0)
    backend.request("r", REQUEST.model_copy(update={"attempt": 1, "weight": 3}), 6.0)
    (waiting,) = backend.waiting
    assert waiting.request == REQUEST


def test_only_stages_of_the_attempt_that_holds_the_slot_are_told() -> None:
    backend = state()
    backend.request("r", REQUEST, 5.0)
    progress = [
        JobProgress(job_id=job, rap_id="r", attempt=attempt, stage=Stage.PREPARING, since=6.0)
        for job, attempt in (("j", 1), ("j", 2), ("stranger", 2))
    ]
    report = AgentReport(backend="b", host="h", at=6.0, room=5, jobs=tuple(progress))
    backend.agents.take(report, 6.0)
    list(backend.grant(6.0))
    told = [(one.job_id, one.attempt, one.code) for one in backend.stages(report, 7.0)]
    assert told == [("j", 2, StatusCode.PREPARING)]


@pytest.mark.parametrize(("since", "at"), [(1.0, 4), (6.0, 6.0), (1e9, 7.0)])
def test_a_stage_is_entered_within_the_life_of_its_job_by_our_clock(
    since: float, at: float
) -> None:
    backend = state()
    backend.request("r", REQUEST.model_copy(update={"created_at": 4}), 5.0)
    progress = JobProgress(job_id="j", rap_id="r", attempt=2, stage=Stage.PREPARING, since=since)
    report = AgentReport(backend="b", host="h", at=6.0, room=5, jobs=(progress,))
    backend.agents.take(report, 6.0)
    list(backend.grant(6.0))
    assert [one.at for one in backend.stages(report, 7.0)] == [at]


def test_a_job_that_no_agent_reports_for_long_is_noticed() -> None:
    backend = state()
    backend.request("r", REQUEST, 5.0)
    backend.agents.take(AgentReport(backend="b", host="h", at=6.0, room=5), 6.0)
    list(backend.grant(6.0))
    assert list(backend.agents.unreported(backend.running, 7.0)) == []
    (lost,) = backend.agents.unreported(backend.running, 6.1 + UNREPORTED_FOR_S)
    assert lost.request == REQUEST
