"""What the host cannot do for the time being, and says in its reports: its closed doors.

A door concerns the whole host, its database jobs, or the jobs of one image. Who meets a fault
closes the door; :mod:`worker_agent.gatekeeper` opens it again. Nothing in here acts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from rap.egress import CLOSES_HOST, Fault

log = structlog.get_logger()

Probe = Callable[[], Awaitable[object]]
"""Tries what the door is about; a JobFault if that still fails."""


@dataclass(frozen=True, slots=True)
class Door:
    """One thing that the host cannot do."""

    fault: Fault
    image: str = ""
    """The key of the image that it is about; empty: of any."""
    probe: Probe | None = field(default=None, compare=False)
    """``None``: the gatekeeper knows how to try."""


class Closures:
    """The closed doors of one host; ``on_change`` is called whenever a report would differ."""

    def __init__(self) -> None:
        self._doors: dict[Door, asyncio.Event] = {}
        self._news = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None

    def close(self, door: Door) -> None:
        """Something does not work; once it is known nothing changes."""
        if door not in self._doors:
            log.warning(f"no jobs are taken that this concerns: {door.fault}", image=door.image)
            self._doors[door] = asyncio.Event()
            self._news.set()
            self.on_change()

    def open(self, door: Door) -> None:
        """It works again."""
        if door in self._doors:
            log.info(f"jobs are taken again: {door.fault} has passed", image=door.image)
            self._doors.pop(door).set()
            self.on_change()

    @property
    def doors(self) -> tuple[Door, ...]:
        """All that are closed."""
        return tuple(self._doors)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What concerns more than single images."""
        return tuple(sorted({door.fault for door in self._doors if not door.image}))

    @property
    def images(self) -> tuple[str, ...]:
        """The images that are missing."""
        return tuple(sorted({door.image for door in self._doors if door.image}))

    @property
    def is_closed(self) -> bool:
        """Whether the host takes no job at all."""
        return bool(CLOSES_HOST & {*self.faults})

    def concerning(self, *, image: str, uses_database: bool) -> Fault | None:
        """Why a job cannot be started now; ``None`` if nothing known is against it."""
        for door in self._doors:
            if door.image:
                if door.image == image:
                    return door.fault
            elif door.fault in CLOSES_HOST or uses_database:
                return door.fault
        return None

    async def until_open(self, fault: Fault, limit: float) -> None:
        """Wait so many seconds, or shorter if a door for this was closed and opens before that."""
        opened = self._doors.get(Door(fault))
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await (opened or asyncio.Event()).wait()

    async def news(self) -> None:
        """Wait until another door is closed."""
        await self._news.wait()
        self._news.clear()
