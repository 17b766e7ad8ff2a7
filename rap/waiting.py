"""Waiting for a service that is away, for as long as it takes, and saying so once."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import RetryCallState, retry, retry_if_exception_type, wait_exponential

from rap.errors import RapError, Unavailable

Answer = TypeVar("Answer")


async def until_it_answers(
    ask: Callable[[], Awaitable[Answer]],
    *,
    on_wait: Callable[[str], object],
    away: type[RapError] = Unavailable,
) -> Answer:
    """Ask again, after 0.2 s at first and 5 s in the end, until there is an answer.

    While the service does not answer, ``ask`` raises ``away``, whose text ``on_wait`` is told once;
    other errors end the waiting.
    """

    def say_once(state: RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome:
            on_wait(str(state.outcome.exception()))

    @retry(
        retry=retry_if_exception_type(away),
        wait=wait_exponential(multiplier=0.2, exp_base=1.5, max=5),
        before_sleep=say_once,
    )
    async def asked() -> Answer:
        # Of a function that merely returns a coroutine the library would not await it.
        return await ask()

    return await asked()
