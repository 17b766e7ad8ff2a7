"""Keeps the schedules of a backend's database checks in step with its switches.

There are no ``dbstatus`` checks while an operator has disabled them, and no data checks while the
database is in maintenance (docs/spec/controller.md 12.3, 12.4).
"""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError

from rap.contracts.activities import SWITCH_CHECKS
from rap.messages.backends import CheckSwitches
from workflows.backend.state import BackendState
from workflows.calls import on_controller

LIMIT = timedelta(minutes=1)
TRY_AGAIN = timedelta(seconds=30)


def wanted_checks(state: BackendState) -> CheckSwitches:
    """Which checks of the database are to be made."""
    return CheckSwitches(
        backend=state.slug,
        status=not (state.manual_maintenance and state.checks_disabled),
        data=state.maintenance is None,
    )


class CheckSwitchboard:
    """Carries out what the switches ask for, whenever that changes.

    It is ``settled`` if the schedules are as wanted already; those of a new backend run.
    """

    def __init__(self, state: BackendState, *, settled: bool) -> None:
        self._state = state
        self._done: CheckSwitches | None = wanted_checks(state) if settled else None
        self.is_at_it = False
        """Whether the schedules are being changed at this moment."""

    @property
    def is_settled(self) -> bool:
        """Whether the schedules are as the switches ask for."""
        return self._done == wanted_checks(self._state)

    def look_again(self) -> None:
        """Somebody else may have made the schedules anew, and they run when they are new."""
        wanted = wanted_checks(self._state)
        if wanted != CheckSwitches(backend=wanted.backend):
            self._done = None

    async def run(self) -> None:
        """Switch for as long as the workflow lives."""
        while True:
            await workflow.wait_condition(lambda: not self.is_settled)
            wanted = wanted_checks(self._state)
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
