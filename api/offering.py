"""Carrying through creates that could not be decided while their client waited
(docs/explanation/architecture.md).

What passed in the way of a create was answered without JSON, and its client goes on asking for its
status. So every API process looks after all undecided creates, whoever took them. Each is offered
to its workspace again, by one process at a time and ever more seldom, until the workspace decides;
it is given up for good when that has gone on for half an hour. Until then its RAP is neither shown
nor called unrecognised.
"""

import asyncio
import random
from enum import Enum

import structlog

from api.services import Services
from rap.deadlines import OFFERED_AFTER_S, OFFERED_EVERY_S, OFFERED_FOR_S
from rap.errors import Unavailable
from rap.messages.workspaces import CreateOutcome, SettleRequest
from rap.models import CreateRequest
from rap.rows import Intent, IntentSettlement, IntentState
from workflows.client import OrderFailed

log = structlog.get_logger()

_RANDOM = random.SystemRandom()

LOOK_EVERY_S = 10.0
_AT_ONCE = 8


class Step(Enum):
    """What is to be done about an undecided create."""

    WAIT = "wait"
    OFFER = "offer"
    GIVE_UP = "give up"


def next_step(undecided: Intent, now: float) -> Step:
    """What is due; both times are by the database's clock."""
    pause = min(OFFERED_AFTER_S * 2**undecided.offers, OFFERED_EVERY_S)
    if now - undecided.offered_at < pause:
        return Step.WAIT
    if now - undecided.created_at >= OFFERED_FOR_S:
        return Step.GIVE_UP
    return Step.OFFER if undecided.request else Step.WAIT


async def offer_for_ever(services: Services, *, every: float = LOOK_EVERY_S) -> None:
    """Look after the undecided creates, again and again."""
    while True:
        # Several processes look; they need not all do so at one moment.
        await asyncio.sleep(every * _RANDOM.uniform(0.5, 1.0))
        try:
            await look_after_all(services)
        except Unavailable:
            # Whoever does not answer has been logged about; the intents stay for the next look.
            log.debug("Undecided creates could not be looked after")


async def look_after_all(services: Services) -> None:
    """Do what is due for each undecided create.

    Raises:
        Unavailable: the read model does not answer.
    """
    undecided, now = await services.ask(services.records.undecided)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look_after(one: Intent, step: Step) -> None:
        async with gate:
            if await services.ask(services.records.take_offer, one):
                await (_offer if step is Step.OFFER else _give_up)(services, one)

    due = [(one, step) for one in undecided if (step := next_step(one, now)) is not Step.WAIT]
    ends = await asyncio.gather(*(look_after(*each) for each in due), return_exceptions=True)
    for end in ends:
        # Those stay undecided; what an order failed at was logged where it happened.
        if isinstance(end, BaseException) and not isinstance(end, Unavailable | OrderFailed):
            raise end


async def _offer(services: Services, undecided: Intent) -> None:
    stored = CreateRequest.model_validate_json(undecided.request)
    request = stored.model_copy(update={"number": undecided.number})
    answer = await services.orchestrator.create(request)
    log.info(
        "Undecided create offered again",
        rap=request.rap_id,
        outcome=answer.outcome.value,
        details=answer.details,
    )
    if answer.outcome is CreateOutcome.INCONSISTENT:
        await _settle(services, undecided, IntentState.REFUSED)


async def _give_up(services: Services, undecided: Intent) -> None:
    request = SettleRequest(rap_id=undecided.rap_id, number=undecided.number)
    answer = await services.orchestrator.settle(undecided.backend, undecided.workspace, request)
    log.warning("Undecided create given up", rap=undecided.rap_id, state=answer.state.value)
    if answer.state is not IntentState.PENDING:
        await _settle(services, undecided, answer.state)


async def _settle(services: Services, undecided: Intent, state: IntentState) -> None:
    settlement = IntentSettlement(rap_id=undecided.rap_id, state=state, number=undecided.number)
    await services.ask(services.records.settle, settlement)
