"""The names that operators' scripts know from before (docs/spec/controller.md 15), hidden."""

from cli.backend import prepare_for_reboot as reboot
from cli.backend.orders import Operator, by_operator
from cli.options import (
    By,
    Data,
    DisableChecks,
    Json,
    NamedBackend,
    OnOff,
    Position,
    Status,
    Why,
    Yes,
)


@by_operator
def pause(*, position: Position, operator: Operator) -> None:
    """Do as `rap backend pause` and `unpause`; print the flag alone.

    Example: rap pause on tpp
    """
    from cli.operations.flags import paused_lines

    row = operator.pause(on=position is OnOff.ON)
    operator.tell(row, *paused_lines(row))


@by_operator
def db_maintenance(
    *, position: Position, operator: Operator, disable_checks: DisableChecks = False
) -> None:
    """Do as `rap backend db-maintenance`; print the flags alone.

    Example: rap db_maintenance on tpp
    """
    from cli.operations.flags import maintenance_lines

    row = operator.maintain(on=position is OnOff.ON, disable_checks=disable_checks)
    operator.tell(row, *maintenance_lines(row))


def prepare_for_reboot(
    *,
    backend: NamedBackend,
    status: Status = False,
    yes: Yes = False,
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Do as `rap backend prepare-for-reboot`.

    Example: rap prepare_for_reboot ...
    """
    reboot.prepare_for_reboot(
        backend=backend, status=status, yes=yes, why=why, by=by, data=data, as_json=as_json
    )
