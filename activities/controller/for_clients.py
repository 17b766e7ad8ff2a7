"""What the activities have in common for which a client waits (docs/spec/rap-api.md A6.4).

They give signs of life, so that one whose controller was killed is tried again within seconds. One
whose controller is stopped is given back at once. And what went wrong is told in two words: whether
it passes.
"""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError

from rap.contracts.activities import UNAVAILABLE, UNFORESEEN
from rap.deadlines import SILENCE
from rap.errors import Unavailable

Owner = TypeVar("Owner")
Argument = TypeVar("Argument")
Result = TypeVar("Result")

_SIGNS_EVERY_S = SILENCE.total_seconds() / 4
_PASSES = (Unavailable, RPCError, OSError, MemoryError)
"""A full disk or too many open files are our trouble, not the request's."""


def for_clients(
    method: Callable[[Owner, Argument], Coroutine[Any, Any, Result]],
) -> Callable[[Owner, Argument], Coroutine[Any, Any, Result]]:
    """Decorate an activity; elsewhere the method stays as it is.

    Its errors become application errors: ``Unavailable`` for what passes, to be tried again;
    ``Unforeseen``, not to be tried again, for all others, whose text stays in the log here.
    """

    @functools.wraps(method)
    async def guarded(owner: Owner, argument: Argument, /) -> Result:
        if not activity.in_activity():
            return await method(owner, argument)
        log = structlog.get_logger().bind(activity=activity.info().activity_type)
        try:
            return await _unless_shut_down(method(owner, argument))
        except ApplicationError:
            raise
        except _PASSES as error:
            reason = str(error) if isinstance(error, Unavailable) else type(error).__name__
            log.warning("Not now", reason=reason, exc_info=not isinstance(error, Unavailable))
            raise ApplicationError(reason, type=UNAVAILABLE) from None
        except Exception:
            log.exception("Unforeseen error")
            raise ApplicationError(
                "The controller met an error that nobody foresaw; its log tells more.",
                type=UNFORESEEN,
                non_retryable=True,
            ) from None

    return guarded


async def _unless_shut_down(coroutine: Coroutine[Any, Any, Result]) -> Result:
    work = asyncio.create_task(coroutine)
    shutdown = asyncio.create_task(activity.wait_for_worker_shutdown())
    is_local = activity.info().is_local
    try:
        while not work.done() and not shutdown.done():
            if not is_local:
                activity.heartbeat()
            await asyncio.wait(
                {work, shutdown}, timeout=_SIGNS_EVERY_S, return_when=asyncio.FIRST_COMPLETED
            )
        if not work.done():
            raise Unavailable("The controller is being stopped; another one goes on.")
        return work.result()
    finally:
        shutdown.cancel()
        if work.cancel():
            await asyncio.wait({work})
