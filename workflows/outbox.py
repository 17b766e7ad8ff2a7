"""Batched delivery: what became due in one workflow task leaves together.

A signal per job and event would cost the server three times as much, and a
workflow must not end before its last message is delivered, or the message is dropped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from temporalio import workflow

Item = TypeVar("Item")

MOST_AT_ONCE = 1000
"""Items of one delivery: what a receiver has to do for it stays well within a workflow task."""


class Outbox(Generic[Item]):
    """Collects items and hands all that are there, but no more than ``most``, to one delivery after
    another.
    """

    def __init__(
        self, deliver: Callable[[list[Item]], Awaitable[None]], *, most: int = MOST_AT_ONCE
    ) -> None:
        self._deliver, self._most = deliver, most
        self._items: list[Item] = []
        self._under_way: list[Item] = []

    @property
    def has_more(self) -> bool:
        """Whether another delivery follows the one that is under way."""
        return bool(self._items)

    def put(self, *items: Item) -> None:
        """Add items to the next delivery; returns at once."""
        self._items.extend(items)

    @property
    def is_empty(self) -> bool:
        """Whether everything put so far has been delivered."""
        return not self._items and not self._under_way

    @property
    def undelivered(self) -> list[Item]:
        """What has not certainly been delivered yet."""
        return [*self._under_way, *self._items]

    async def run(self) -> None:
        """Deliver for as long as the workflow lives; an error of a delivery ends it."""
        while True:
            await workflow.wait_condition(lambda: bool(self._items))
            self._under_way = self._items[: self._most]
            del self._items[: self._most]
            try:
                await self._deliver(self._under_way)
            finally:
                self._under_way = []


async def settle(condition: Callable[[], bool], deliveries: Sequence[asyncio.Task[None]]) -> None:
    """Wait for a condition while the outboxes deliver; an error in one of them surfaces here."""
    await workflow.wait_condition(lambda: condition() or any(task.done() for task in deliveries))
    for task in deliveries:
        if task.done():
            task.result()
