"""Activities for which a client waits: signs of life, giving back, and what went wrong."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities.controller import for_clients as module
from activities.controller.for_clients import for_clients
from rap.contracts.activities import UNAVAILABLE, UNFORESEEN
from rap.errors import Unavailable

pytestmark = pytest.mark.unit


class Owner:
    def __init__(self, work: Callable[[], Awaitable[str]]) -> None:
        self._work = work

    @for_clients
    async def method(self, argument: str) -> str:
        return argument + await self._work()


def failing(error: Exception) -> Owner:
    async def work() -> str:
        raise error

    return Owner(work)


async def test_it_shows_signs_of_life_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SIGNS_EVERY_S", 0.01)
    signs = 0
    enough = asyncio.Event()

    def sign(*_: object) -> None:
        nonlocal signs
        signs += 1
        if signs == 3:
            enough.set()

    async def work() -> str:
        await enough.wait()
        return "b"

    environment = ActivityEnvironment()
    environment.on_heartbeat = sign
    assert await environment.run(Owner(work).method, "a") == "ab"


async def test_a_controller_that_stops_gives_it_back_at_once_to_be_tried_again() -> None:
    began, broken_off = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            broken_off.set()
        return ""

    environment = ActivityEnvironment()
    running = asyncio.create_task(environment.run(Owner(work).method, "a"))
    await began.wait()
    environment.worker_shutdown()
    with pytest.raises(ApplicationError) as caught:
        await running
    assert (caught.value.type, caught.value.non_retryable) == (UNAVAILABLE, False)
    assert broken_off.is_set()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Unavailable("The remote is away."), "The remote is away."),
        (OSError(28, "No space left on /secret"), "OSError"),
        (MemoryError(), "MemoryError"),
        (RPCError("shard status unknown", RPCStatusCode.UNAVAILABLE, b""), "RPCError"),
    ],
)
async def test_what_passes_may_be_tried_again(error: Exception, text: str) -> None:
    with capture_logs() as logs, pytest.raises(ApplicationError) as caught:
        await ActivityEnvironment().run(failing(error).method, "a")
    assert (caught.value.type, caught.value.non_retryable) == (UNAVAILABLE, False)
    assert caught.value.message == text
    assert [line["reason"] for line in logs] == [text]


async def test_what_nobody_foresaw_is_not_tried_again_and_its_text_stays_in_the_log() -> None:
    with capture_logs() as logs, pytest.raises(ApplicationError) as caught:
        await ActivityEnvironment().run(failing(KeyError("secret")).method, "a")
    assert (caught.value.type, caught.value.non_retryable) == (UNFORESEEN, True)
    assert "secret" not in str(caught.value)
    assert logs[0]["exc_info"]


async def test_outside_an_activity_the_method_is_itself() -> None:
    with pytest.raises(Unavailable):
        await failing(Unavailable("x")).method("a")
