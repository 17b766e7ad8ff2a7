"""Finding out what became of creates whose answer was lost (architecture.md 2.5).

While a create is undecided its RAP is neither shown nor called unrecognised. Whoever sent it may
be gone, so every API process looks after all of them; asking twice is harmless, and processes that
ask at the same time get one answer.
"""

import asyncio
import random
import time

import structlog

from api.orchestrator import OrderFailed
from api.services import Services
from rap.errors import Unavailable
from rap.messages import SettleRequest
from rap.rows import Intent, IntentSettlement

log = structlog.get_logger()

_RANDOM = random.SystemRandom()

SETTLE_AFTER = 60.0
"""Seconds; longer than any create is waited for."""
LOOK_EVERY = 15.0


async def settle_for_ever(
    services: Services, *, after: float = SETTLE_AFTER, every: float = LOOK_EVERY
) -> None:
    """Settle intents older than ``after`` seconds, looking again ``every`` seconds."""
    while True:
        # Several processes look; they need not all do so at one moment.
        await asyncio.sleep(every * _RANDOM.uniform(0.5, 1.0))
        try:
            await settle_once(services, older_than=time.time() - after)
        except Unavailable:
            # Whoever does not answer has been logged about; the intents stay for the next look.
            log.debug("Undecided creates could not be settled yet")


async def settle_once(services: Services, older_than: float) -> None:
    """Settle all intents announced before ``older_than``.

    Raises:
        Unavailable: Temporal or the read model does not answer.
    """
    for intent in await services.ask(services.records.unsettled, older_than):
        await _settle(services, intent)


async def _settle(services: Services, intent: Intent) -> None:
    request = SettleRequest(rap_id=intent.rap_id, at=intent.created_at)
    try:
        answer = await services.orchestrator.settle(intent.backend, intent.workspace, request)
    except OrderFailed:
        return  # logged where it happened; the others must not wait for this one
    log.info("Undecided create settled", rap=intent.rap_id, state=answer.state.value)
    settlement = IntentSettlement(
        rap_id=intent.rap_id, state=answer.state, asked_at=intent.created_at
    )
    await services.ask(services.records.settle, settlement)
