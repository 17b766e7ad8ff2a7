"""When a backend's row is written, and that nothing is lost when it continues as new."""

import pytest
from temporalio import workflow

from rap.egress import AgentReport
from rap.messages.backends import BackendLimits, BackendStart, Errand, ErrandKind
from rap.messages.jobs import StopOrder, StopReason
from rap.messages.orders import LimitsOrder
from rap.messages.packed_queue import pack
from rap.messages.slots import PassedOver, Reservation, SlotGrant, SlotRequest
from rap.models import WeightRule, Weights
from rap.rows import BackendRow, JobChange, OpenWindow
from rap.status import StatusCode
from rap.windows import WindowKind
from workflows.backend.errands import ErrandList
from workflows.backend.messages import LATEST_S, BackendMessages
from workflows.backend.state import BackendState
from workflows.backend.workflow import BackendWorkflow
from workflows.run_length import RunLength

pytestmark = pytest.mark.unit

START = BackendStart(slug="b", limits=BackendLimits(max_workers=1, max_db_workers=1))

REQUEST = SlotRequest(job_id="j", workspace="w", requires_db=False, created_at=0, attempt=1)
FULL = BackendStart(
    slug="b",
    limits=BackendLimits(max_workers=3, max_db_workers=2),
    row=BackendRow(slug="b", version=1, paused=True, updated_at=1.0),
    reservations=(Reservation(rap_id="r", request=REQUEST, since=1.0, host="h"),),
    waiting=pack(
        [Reservation(rap_id="r", request=REQUEST.model_copy(update={"job_id": "k"}), since=1.0)]
    ),
    manual_maintenance=True,
    checks_disabled=True,
    checks_settled=False,
    ordered_limits=LimitsOrder(by="me", max_workers=1),
    windows={"patching": OpenWindow(kind=WindowKind.PAUSE, until=9.0)},
    held_by_window=(WindowKind.PAUSE,),
    priorities={"r": 1},
    passed_over=(PassedOver(workspace="w", requires_db=False, times=2),),
    untold=("k",),
    unrecorded=(JobChange(job_id="j", attempt=1, code=StatusCode.EXECUTING, message="", at=1.0),),
    written_at=5.0,
    weights=Weights(default=(WeightRule(pattern="x", weight=2.0),)),
    errands=(Errand(kind=ErrandKind.REWEIGH, rap_id="r", workspace="w"),),
    look_round_s=7.0,
    looks_round_at=8.0,
    longest_history=50,
)
"""One that has something in every field."""

FROM_THE_START = {"_length"}
CARRIED = {"_state", "_errands"}
IDLE_OR_CARRIED = {"_messages", "_checks", "_watch"}

OF_THE_STATE = {
    "slug": "slug",
    "configured": "limits",
    "_ordered_limits": "ordered_limits",
    "manual_maintenance": "manual_maintenance",
    "weights": "weights",
    "windows": "windows",
    "_passed_over": "passed_over",
    "_row": "row",
    "_untold": "untold",
    "agents": "row",
    "running": "reservations",
    "waiting": "waiting",
}
"""Each member of the state, and the field in which it goes over to the next run."""


def test_a_busy_backend_tells_its_readers_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(workflow, "time", lambda: now)
    messages = BackendMessages(BackendState(START), ErrandList(), RunLength(1), written_at=now)
    messages.touch()
    assert not messages._may_write(), "decisions come first"
    messages._undecided = False
    assert messages._may_write()
    messages._grants.put(("rap", SlotGrant(job_id="j", attempt=1, host="h")))
    assert not messages._may_write(), "grants come first"
    now += LATEST_S
    messages.touch()
    assert messages._may_write(), "but only for some seconds"
    messages.wind_down()
    assert not messages._may_write()


def test_whatever_a_backend_holds_is_idle_or_goes_over_to_its_next_run() -> None:
    backend = BackendWorkflow(START)
    assert vars(backend).keys() == FROM_THE_START | CARRIED | IDLE_OR_CARRIED
    assert vars(backend._state).keys() == OF_THE_STATE.keys()
    assert set(OF_THE_STATE.values()) < BackendStart.model_fields.keys()


@pytest.mark.parametrize("field", sorted(BackendStart.model_fields.keys() - {"slug", "recovering"}))
def test_each_field_of_a_start_goes_over_to_the_next_run(field: str) -> None:
    once = BackendWorkflow(FULL)._carried_over(FULL)
    twice = BackendWorkflow(once)._carried_over(once)
    assert getattr(once, field) != getattr(START, field), "lost, or never there"
    assert getattr(twice, field) == getattr(once, field)


def test_a_backend_is_not_idle_while_a_message_or_a_write_is_on_its_way() -> None:
    state = BackendState(START)
    messages = BackendMessages(state, ErrandList(), RunLength(1), written_at=0.0)
    # What is merely undecided or unwritten is decided and written by the next run.
    assert messages.are_delivered
    request = SlotRequest(job_id="j", workspace="w", requires_db=False, created_at=0, attempt=1)
    state.request("r", request, 1.0)
    state.agents.take(AgentReport(backend="b", host="h", at=1.0, room=1), 1.0)
    grants = list(state.grant(1.0))
    messages._grants.put(*grants)
    assert not messages.are_delivered
    messages = BackendMessages(state, ErrandList(), RunLength(1), written_at=0.0)
    messages.stop(state.running.values(), StopOrder(reason=StopReason.REBOOT))
    assert not messages.are_delivered
    messages = BackendMessages(state, ErrandList(), RunLength(1), written_at=0.0)
    messages._writing = True
    assert not messages.are_delivered
