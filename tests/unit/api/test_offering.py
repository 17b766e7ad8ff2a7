"""Creates that could not be decided in time are carried through, or given up for good
(docs/explanation/architecture.md).
"""

import asyncio

import pytest

from api.auth import Tokens
from api.offering import Step, look_after_all, next_step, offer_for_ever
from api.services import Services
from rap.deadlines import OFFERED_AFTER_S, OFFERED_EVERY_S, OFFERED_FOR_S
from rap.errors import Unavailable
from rap.messages.workspaces import CreateAnswer, CreateOutcome, SettleAnswer
from rap.records import Records
from rap.rows import IntentState
from tests.support.factories import create_request
from tests.support.records import intent, rap_id
from tests.unit.api.conftest import LOST, ScriptedOrchestrator
from workflows.client import OrderFailed

pytestmark = pytest.mark.unit

ONE, TWO = rap_id(1), rap_id(2)
NOW = 1_000_000.0


@pytest.fixture
def services(records: Records, orchestrator: ScriptedOrchestrator) -> Services:
    return Services(Tokens({}), records, orchestrator, timeout=1)


def announce(records: Records, rap: str, *, ago: float | None = None) -> None:
    """Announce a create just now, or some seconds ago by the database's clock."""
    _, now = records.undecided()
    request = create_request("a", rap_id=rap).model_dump_json()
    records.announce(intent(rap, request=request, created_at=0.0 if ago is None else now - ago))


def states(records: Records, *raps: str) -> list[IntentState]:
    found = records.intents(raps)
    return [found[rap].state for rap in raps]


@pytest.mark.parametrize(
    ("age", "offers", "last", "step"),
    [
        (0, 0, 0, Step.WAIT),
        (OFFERED_AFTER_S - 1, 0, OFFERED_AFTER_S - 1, Step.WAIT),
        (OFFERED_AFTER_S, 0, OFFERED_AFTER_S, Step.OFFER),
        (100, 1, 2 * OFFERED_AFTER_S - 1, Step.WAIT),
        (100, 1, 2 * OFFERED_AFTER_S, Step.OFFER),
        (1000, 9, OFFERED_EVERY_S - 1, Step.WAIT),
        (1000, 9, OFFERED_EVERY_S, Step.OFFER),
        (OFFERED_FOR_S - 1, 9, OFFERED_EVERY_S, Step.OFFER),
        (OFFERED_FOR_S, 9, OFFERED_EVERY_S - 1, Step.WAIT),
        (OFFERED_FOR_S, 9, OFFERED_EVERY_S, Step.GIVE_UP),
        (-3600, 0, -3600, Step.WAIT),
    ],
)
def test_a_create_is_offered_ever_more_seldom_and_in_the_end_given_up(
    age: float, offers: int, last: float, step: Step
) -> None:
    one = intent(ONE, request="{}", created_at=NOW - age, offers=offers, offered_at=NOW - last)
    assert next_step(one, NOW) is step


def test_a_create_of_a_version_that_kept_no_request_is_only_given_up() -> None:
    old = intent(ONE, created_at=NOW - 100)
    assert next_step(old, NOW) is Step.WAIT
    assert next_step(old, NOW + OFFERED_FOR_S) is Step.GIVE_UP


async def test_what_is_undecided_is_offered_as_it_was_asked_for(
    services: Services, records: Records, orchestrator: ScriptedOrchestrator
) -> None:
    announce(records, ONE, ago=OFFERED_AFTER_S)
    announce(records, TWO)
    await look_after_all(services)
    (request,) = orchestrator.creates
    assert request == create_request("a", rap_id=ONE, number=1)
    assert states(records, ONE, TWO) == [IntentState.ACCEPTED, IntentState.PENDING]
    await look_after_all(services)
    assert len(orchestrator.creates) == 1


async def test_processes_that_look_at_the_same_time_offer_it_once(
    services: Services, records: Records, orchestrator: ScriptedOrchestrator
) -> None:
    announce(records, ONE, ago=OFFERED_AFTER_S)
    orchestrator.answer = CreateAnswer(outcome=CreateOutcome.NOT_NOW)
    await asyncio.gather(*(look_after_all(services) for _ in range(5)))
    assert len(orchestrator.creates) == 1
    assert states(records, ONE) == [IntentState.PENDING]


@pytest.mark.parametrize("answer", [OrderFailed("no"), LOST])
async def test_one_that_fails_does_not_hold_up_the_others(
    services: Services, records: Records, orchestrator: ScriptedOrchestrator, answer: Exception
) -> None:
    for rap in (ONE, TWO):
        announce(records, rap, ago=OFFERED_AFTER_S)
    orchestrator.answer = answer
    await look_after_all(services)
    assert len(orchestrator.creates) == 2
    assert states(records, ONE, TWO) == [IntentState.PENDING] * 2


@pytest.mark.parametrize("state", [IntentState.ACCEPTED, IntentState.REFUSED])
async def test_after_half_an_hour_it_becomes_what_its_workspace_says(
    services: Services, records: Records, orchestrator: ScriptedOrchestrator, state: IntentState
) -> None:
    announce(records, ONE, ago=OFFERED_FOR_S)
    orchestrator.settled = SettleAnswer(state=state)
    await look_after_all(services)
    assert states(records, ONE) == [state]
    ((backend, workspace, request),) = orchestrator.settles
    assert (backend, workspace) == ("test", "workspace")
    assert (request.rap_id, request.number) == (ONE, 1)
    assert orchestrator.creates == []


async def test_a_workspace_that_cannot_tell_is_asked_again(
    services: Services, records: Records, orchestrator: ScriptedOrchestrator
) -> None:
    announce(records, ONE, ago=OFFERED_FOR_S)
    orchestrator.settled = SettleAnswer(state=IntentState.PENDING)
    await look_after_all(services)
    assert states(records, ONE) == [IntentState.PENDING]


async def test_a_create_that_is_sent_anew_is_not_touched_by_the_end_of_the_one_before(
    services: Services, records: Records, orchestrator: ScriptedOrchestrator
) -> None:
    announce(records, ONE, ago=OFFERED_FOR_S)
    ((old,), _) = records.undecided()
    announce(records, ONE)
    assert not records.take_offer(old)
    await look_after_all(services)
    assert orchestrator.settles == []
    assert states(records, ONE) == [IntentState.PENDING]
    assert records.intents([ONE])[ONE].number == 2


async def test_an_id_that_turns_out_to_belong_to_another_workspace_is_refused(
    services: Services, records: Records, orchestrator: ScriptedOrchestrator
) -> None:
    announce(records, ONE, ago=OFFERED_AFTER_S)
    orchestrator.answer = CreateAnswer(outcome=CreateOutcome.INCONSISTENT)
    await look_after_all(services)
    assert states(records, ONE) == [IntentState.REFUSED]


async def test_looking_goes_on_after_the_read_model_was_away(
    services: Services, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(records, ONE, ago=OFFERED_AFTER_S)
    tried = asyncio.Event()
    loop = asyncio.get_running_loop()

    def away() -> None:
        loop.call_soon_threadsafe(tried.set)
        raise Unavailable("The read model is away.")

    with monkeypatch.context() as patched:
        patched.setattr(records, "undecided", away)
        looking = asyncio.create_task(offer_for_ever(services, every=0.01))
        await tried.wait()
    while states(records, ONE) != [IntentState.ACCEPTED]:
        await asyncio.sleep(0.01)
    looking.cancel()
