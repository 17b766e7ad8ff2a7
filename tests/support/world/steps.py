"""What may happen next, and the time: one thing after another, in an order drawn from a seed."""

import heapq
import itertools
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from tests.support.world.execution import Execution

BEGINNING = 1_700_000_000.0
EARLY_TIMER = 0.02
"""How often time passes although something else could happen."""


@dataclass(order=True)
class Timer:
    """Something that happens when it is time, as long as its run is open."""

    at: float
    number: int
    what: str = field(compare=False)
    run: Execution | None = field(compare=False)
    fire: Callable[[], None] = field(compare=False)
    is_off: bool = field(default=False, compare=False)


class Steps(ABC):
    """All that may happen: things on their way, tasks of workflows, and timers."""

    def __init__(self, seed: int) -> None:
        self.random, self.now, self.log = Random(seed), BEGINNING, list[str]()
        self._numbers = itertools.count(1)
        self._ready: list[tuple[float, str, Callable[[], Awaitable[None] | None]]] = []
        self._timers: list[Timer] = []

    @property
    def is_quiet(self) -> bool:
        """Whether nothing can happen before time passes."""
        return not self._ready and not self._with_work()

    def later(
        self, what: str, do: Callable[[], Awaitable[None] | None], *, weight: float = 1.0
    ) -> None:
        """Have something happen at one of the next steps; the lighter, the later."""
        self._ready.append((weight, what, do))

    def at(
        self, when: float, what: str, fire: Callable[[], None], run: Execution | None = None
    ) -> Timer:
        """Have something happen when it is that time."""
        timer = Timer(when, next(self._numbers), what, run, fire)
        heapq.heappush(self._timers, timer)
        return timer

    async def step(self) -> None:
        """Let one thing happen; if nothing can, let time pass until something does."""
        runs = self._with_work()
        if not (runs or self._ready) or self.random.random() < EARLY_TIMER:
            self._pass_time()
            return
        weights = [1.0] * len(runs) + [weight for weight, _, _ in self._ready]
        (choice,) = self.random.choices(range(len(weights)), weights)
        if choice < len(runs):
            self._run_task(runs[choice])
            return
        _, what, do = self._ready.pop(choice - len(runs))
        self.log.append(what)
        done = do()
        if done is not None:
            await done

    @abstractmethod
    def _with_work(self) -> list[Execution]:
        """The runs that have something to do."""

    @abstractmethod
    def _run_task(self, run: Execution) -> None:
        """Have a run do it."""

    def _pass_time(self) -> None:
        while self._timers:
            timer = heapq.heappop(self._timers)
            if timer.is_off or (timer.run is not None and not timer.run.is_open):
                continue
            self.now = max(self.now, timer.at)
            self.log.append(f"{self.now - BEGINNING:.1f} s: {timer.what}")
            timer.fire()
            return
