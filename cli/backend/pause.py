"""``rap backend pause`` (docs/spec/controller.md 12, 15)."""

from cli.backend.orders import Operator, by_operator
from cli.console import counted


@by_operator
def pause(*, operator: Operator) -> None:
    """Start no more jobs; those that run go on to their end.

    Example: rap backend pause tpp --why "disk is being replaced"
    """
    from cli.operations.flags import paused_lines

    row = operator.pause(on=True)
    operator.tell(
        row,
        *paused_lines(row),
        f"{counted(len(row.slots), 'running job')} will go on to the end, none will start. "
        f"Undo: rap backend unpause {operator.backend}",
    )
