"""What becomes of an error that nobody foresaw: told in full here, not a word of it elsewhere."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog
from temporalio.exceptions import ApplicationError

Owner = TypeVar("Owner")
Argument = TypeVar("Argument")
Result = TypeVar("Result")

UNFORESEEN = "Unforeseen"
"""Type of the application error; whoever catches it answers ``Unknown error``."""


def unforeseen_stays_here(
    method: Callable[[Owner, Argument], Coroutine[Any, Any, Result]],
) -> Callable[[Owner, Argument], Coroutine[Any, Any, Result]]:
    """Decorate an activity: any other error is logged, and raised without its text.

    Trying again would not help: the same request would meet the same fault.
    """

    @functools.wraps(method)
    async def guarded(owner: Owner, argument: Argument, /) -> Result:
        try:
            return await method(owner, argument)
        except ApplicationError:
            raise
        except Exception:  # noqa: BLE001 - it is logged, and raised as another
            structlog.get_logger().exception("Unforeseen error", activity=method.__name__)
            raise ApplicationError(
                "The controller met an error that nobody foresaw; its log tells more.",
                type=UNFORESEEN,
                non_retryable=True,
            ) from None

    return guarded
