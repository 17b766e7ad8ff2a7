"""Keeps the schedules of a backend's database checks in step with its switches.

There are no ``dbstatus`` checks while an operator has disabled them, and no data checks while the
database is in maintenance (controller.md 12.3, 12.4).
"""

from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.contracts import SWITCH_CHECKS
from rap.messages import CheckSwitches
from workflows.calls import on_controller

PATCH = "database-checks"
LIMIT = timedelta(minutes=1)
TRY_AGAIN = timedelta(seconds=30)


class CheckSwitchboard:
    """Carries out what the switches ask for, whenever that changes.

    Args:
        wanted: what they ask for now.
        settled: whether the schedules are as they ask for already; a new backend's run.
    """

    def __init__(self, wanted: Callable[[], CheckSwitches], *, settled: bool) -> None:
        self._wanted = wanted
        self._done: CheckSwitches | None = wanted() if settled else None
        self.is_at_it = False
        """Whether the schedules are being changed at this moment."""

    @property
    def is_settled(self) -> bool:
        """Whether the schedules are as the switches ask for."""
        return self._done == self._wanted()

    def look_again(self) -> None:
        """Somebody else may have made the schedules anew, and they run when they are new."""
        wanted = self._wanted()
        if wanted != CheckSwitches(backend=wanted.backend):
            self._done = None

    async def run(self) -> None:
        """Switch for as long as the workflow lives."""
        while True:
            await workflow.wait_condition(lambda: not self.is_settled)
            wanted = self._wanted()
            if not workflow.patched(PATCH):
                self._done = wanted
                continue
            self.is_at_it = True
            try:
                await on_controller(
                    SWITCH_CHECKS, wanted, limit=LIMIT, attempts=0, summary=_summary(wanted)
                )
            except ActivityError:
                workflow.logger.warning("The schedules of the database checks cannot be changed")
                self.is_at_it = False
                await workflow.sleep(TRY_AGAIN, summary="before the schedules are tried again")
            else:
                self._done, self.is_at_it = wanted, False


def _summary(wanted: CheckSwitches) -> str:
    words = {True: "on", False: "off"}
    return f"dbstatus {words[wanted.status]}, dbdatacheck {words[wanted.data]}"
