"""Creates whose answer was lost are settled, and stay so (architecture.md 2.5)."""

import asyncio

import pytest

from api.auth import Tokens
from api.orchestrator import OrderFailed
from api.services import Services
from api.settling import settle_for_ever, settle_once
from rap.errors import Unavailable
from rap.messages import SettleAnswer
from rap.records import Records
from rap.rows import IntentState
from tests.api.conftest import LOST, ScriptedOrchestrator
from tests.support.records import CREATED_AT, intent, rap_id

pytestmark = pytest.mark.unit

T = CREATED_AT
ONE, TWO = rap_id(1), rap_id(2)


@pytest.fixture
def services(records: Records, orchestrator: ScriptedOrchestrator) -> Services:
    return Services(Tokens({}), records, orchestrator, timeout=1)


def states(records: Records) -> list[IntentState]:
    found = records.intents([ONE, TWO])
    return [found[rap].state for rap in (ONE, TWO)]


@pytest.mark.parametrize("state", [IntentState.ACCEPTED, IntentState.REFUSED])
async def test_old_intents_become_what_their_workspace_says(
    services: Services, records: Records, orchestrator: ScriptedOrchestrator, state: IntentState
):
    records.announce(intent(ONE, created_at=T + 1.5))
    records.announce(intent(TWO, created_at=T + 99.0))
    orchestrator.settled = SettleAnswer(state=state)
    await settle_once(services, older_than=T + 60)
    assert states(records) == [state, IntentState.PENDING]
    ((backend, workspace, request),) = orchestrator.settles
    assert (backend, workspace) == ("test", "workspace")
    assert (request.rap_id, request.at) == (ONE, T + 1.5)


async def test_one_that_fails_does_not_hold_up_the_others(
    services: Services, records: Records, orchestrator: ScriptedOrchestrator
):
    for rap in (ONE, TWO):
        records.announce(intent(rap))
    orchestrator.settled = OrderFailed("no")
    await settle_once(services, older_than=T + 60)
    assert len(orchestrator.settles) == 2
    assert states(records) == [IntentState.PENDING] * 2


async def test_while_temporal_is_away_they_stay_undecided(
    services: Services, records: Records, orchestrator: ScriptedOrchestrator
):
    for rap in (ONE, TWO):
        records.announce(intent(rap))
    orchestrator.settled = LOST
    with pytest.raises(Unavailable):
        await settle_once(services, older_than=T + 60)
    assert len(orchestrator.settles) == 1

    looking = asyncio.create_task(settle_for_ever(services, after=0, every=0.01))
    while len(orchestrator.settles) < 3:
        await asyncio.sleep(0.01)
    orchestrator.settled = SettleAnswer(state=IntentState.REFUSED)
    while IntentState.PENDING in states(records):
        await asyncio.sleep(0.01)
    looking.cancel()
