"""Batched delivery: what became due in one workflow task leaves together.

A signal per job and event would cost the server three times as much (temporal-findings 3), and a
workflow must not end before its last message is delivered, or the message is dropped.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from temporalio import workflow

Item = TypeVar("Item")


class Outbox(Generic[Item]):
    """Collects items and hands all that are there to one delivery after another."""

    def __init__(self, deliver: Callable[[list[Item]], Awaitable[None]]) -> None:
        self._deliver = deliver
        self._items: list[Item] = []
        self._delivering = False

    def put(self, *items: Item) -> None:
        """Add items to the next delivery; returns at once."""
        self._items.extend(items)

    @property
    def is_empty(self) -> bool:
        """Whether everything put so far has been delivered."""
        return not self._items and not self._delivering

    async def run(self) -> None:
        """Deliver for as long as the workflow lives; an error of a delivery ends it."""
        while True:
            await workflow.wait_condition(lambda: bool(self._items))
            items, self._items, self._delivering = self._items, [], True
            try:
                await self._deliver(items)
            finally:
                self._delivering = False


async def settle(condition: Callable[[], bool], deliveries: Sequence[asyncio.Task[None]]) -> None:
    """Wait for a condition while the outboxes deliver; an error in one of them surfaces here."""
    await workflow.wait_condition(lambda: condition() or any(task.done() for task in deliveries))
    for task in deliveries:
        if task.done():
            task.result()
