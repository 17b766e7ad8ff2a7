"""What a backend has noticed and others have to hear, kept until it is done.

An errand is state: it is forgotten when it has been carried out and not before, and goes over to
the next run of the workflow until then. So a backend may continue as new at any moment. Each may be
run twice, and does nothing then.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from temporalio import workflow

from rap import ids
from rap.contracts.workflows import ANNOUNCE, RAP_HOST_LOST, RAP_LOST, REWEIGH
from rap.messages.backends import Errand, ErrandKind
from rap.messages.orders import LostHost
from rap.messages.slots import Announce, Reweigh
from rap.messages.workspaces import RapLost
from workflows.backend.state import BackendState
from workflows.calls import send_signal
from workflows.run_length import SENT, RunLength
from workflows.workspace.start import start_workspace_again

AT_ONCE = 100
"""Messages on their way at the same time."""


class ErrandList:
    """Errands in the order in which they came up, each once. Pure."""

    def __init__(self, errands: Iterable[Errand] = ()) -> None:
        self._open = dict.fromkeys(errands)
        self._at_hand: tuple[Errand, ...] = ()

    def __bool__(self) -> bool:
        return bool(self._open)

    def put(self, *errands: Errand) -> None:
        """Add errands; one that is at hand already is run once more, by what is known then."""
        self._open |= dict.fromkeys(errands)

    def take(self) -> tuple[Errand, ...]:
        """The next ones to be run at the same time; to be followed by :meth:`done`."""
        self._at_hand = tuple(self._open)[:AT_ONCE]
        for errand in self._at_hand:
            del self._open[errand]
        return self._at_hand

    def done(self) -> None:
        """Forget those that were taken: they have been carried out."""
        self._at_hand = ()

    @property
    def carried_over(self) -> tuple[Errand, ...]:
        """All that may not have been carried out."""
        return tuple(dict.fromkeys((*self._at_hand, *self._open)))


class Runner:
    """Carries errands out, for as long as the backend lives."""

    def __init__(self, state: BackendState, errands: ErrandList, length: RunLength) -> None:
        self._state, self._errands, self._length = state, errands, length
        self._ways: dict[ErrandKind, Callable[[Errand], Awaitable[object]]] = {
            ErrandKind.REWEIGH: self._reweigh,
            ErrandKind.ANNOUNCE: _announce,
            ErrandKind.RAP_LOST: self._tell_of_lost_rap,
            ErrandKind.WORKSPACE: self._start_workspace,
            ErrandKind.HOST_LOST: _tell_of_lost_host,
        }

    async def run(self) -> None:
        """Run what comes up."""
        while True:
            await workflow.wait_condition(lambda: bool(self._errands))
            errands = self._errands.take()
            await asyncio.gather(*(self._ways[one.kind](one) for one in errands))
            self._errands.done()
            # Not before: each run has to get some done, however few it may do.
            self._length.add(SENT * len(errands))

    async def _reweigh(self, errand: Errand) -> None:
        weights = self._state.weights.of_workspace(errand.workspace)
        rap = ids.rap_workflow_id(errand.workspace, errand.rap_id)
        await send_signal(REWEIGH, rap, Reweigh(weights=weights), attempts=1)

    async def _tell_of_lost_rap(self, errand: Errand) -> None:
        workspace = ids.workspace_workflow_id(self._state.slug, errand.workspace)
        await send_signal(RAP_LOST, workspace, RapLost(rap_id=errand.rap_id), attempts=2)

    async def _start_workspace(self, errand: Errand) -> None:
        await start_workspace_again(self._state.slug, errand.workspace)


async def _announce(errand: Errand) -> None:
    await send_signal(
        ANNOUNCE, ids.rap_workflow_id(errand.workspace, errand.rap_id), Announce(), attempts=1
    )


async def _tell_of_lost_host(errand: Errand) -> None:
    rap = ids.rap_workflow_id(errand.workspace, errand.rap_id)
    await send_signal(RAP_HOST_LOST, rap, LostHost(host=errand.host), attempts=2)
