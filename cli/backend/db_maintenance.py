"""``rap backend db-maintenance``: switched by hand (docs/spec/controller.md 12, 15.2)."""

import typer

from cli.backend.orders import Operator, by_operator
from cli.console import counted
from cli.options import DisableChecks, OnOff, Position


@by_operator
def db_maintenance(
    *, position: Position, operator: Operator, disable_checks: DisableChecks = False
) -> None:
    """Switch database maintenance by hand: database jobs are stopped, and wait until `off`.

    While it is on by hand, no periodic check ends it. `off` hands it back to the checks.

    Example: rap backend db-maintenance on tpp
    """
    from cli.operations.flags import maintenance_lines

    if disable_checks and position is OnOff.OFF:
        raise typer.BadParameter("--disable-checks is for `on`; `off` enables the checks again")
    row = operator.maintain(on=position is OnOff.ON, disable_checks=disable_checks)
    if row.maintenance:
        stopped = sum(slot.requires_db for slot in row.slots)
        told = (
            f"{counted(stopped, 'running database job')} will be stopped and wait; other jobs go "
            f"on. Undo: rap backend db-maintenance off {row.slug}"
        )
    else:
        told = "Database jobs will start as slots become free; the periodic checks count again."
    operator.tell(row, *maintenance_lines(row), told)
