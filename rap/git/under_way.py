"""Fetches that go on whoever waits for them (docs/spec/controller.md 13.2).

A fetch may take longer than anybody wants to wait for its answer: a client that goes away, a job
that is cancelled, an activity whose time is up. Each of them only leaves it, and the next one that
asks for the same joins it. It ends by itself, by its own time limit, or with its process: when that
closes, or when ``asyncio.run`` comes to its end, the fetch is cancelled, which takes git along.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import structlog

from rap.errors import RapError, Unavailable

Result = TypeVar("Result")


class Wanted(NamedTuple):
    """What a fetch is for; who wants the same thing joins it."""

    repo: Path
    repo_url: str
    commit: str
    head: str = ""
    """Of the branch that the commit is to be on; blank: its files alone are wanted."""


class UnderWay:
    """The fetches under way in this process, each a task of its own."""

    def __init__(self) -> None:
        self._tasks: dict[Wanted, asyncio.Task[Any]] = {}

    def includes(self, repo: Path) -> bool:
        """Whether something is being fetched for a repository, or waits for its lock."""
        return any(wanted.repo == repo for wanted in self._tasks)

    async def join(
        self, wanted: Wanted, begin: Callable[[], Coroutine[Any, Any, Result]]
    ) -> Result:
        """Wait for a fetch that goes on already, or begin it; its answer or error.

        Cancelling this leaves the fetch as it is.

        Raises:
            Unavailable: the process is being ended, and the fetch with it.
        """
        task = self._tasks.get(wanted)
        if task is None:
            task = asyncio.create_task(begin(), name=f"fetch {wanted.commit}")
            self._tasks[wanted] = task
            task.add_done_callback(partial(self._ended, wanted))
        await asyncio.wait({task})
        if task.cancelled():
            raise Unavailable("This process is being ended, and what it fetched is left undone.")
        return cast("Result", task.result())

    async def end(self) -> None:
        """End what is under way; nothing of it runs any more when this returns."""
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, wanted: Wanted, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(wanted, None)
        error = None if task.cancelled() else task.exception()
        # Whoever waits for it is told; what a remote answered has been logged.
        if error is not None and not isinstance(error, RapError):
            structlog.get_logger().error(
                "A fetch failed unforeseen", repo=wanted.repo_url, exc_info=error
            )
