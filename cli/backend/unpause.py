"""``rap backend unpause`` (docs/spec/controller.md 12, 15)."""

from cli.backend.orders import Operator, by_operator
from cli.console import counted


@by_operator
def unpause(*, operator: Operator) -> None:
    """Start jobs again, also those that were stopped for a reboot.

    Example: rap backend unpause tpp
    """
    from cli.operations.flags import paused_lines

    row = operator.pause(on=False)
    waiting = counted(row.waiting, "waiting job")
    operator.tell(row, *paused_lines(row), f"{waiting} will start as slots become free.")
