"""``rap backend limits``: how much runs at a time (docs/spec/controller.md 12)."""

import math
from typing import Annotated

import typer

from cli.backend.orders import Operator, by_operator


@by_operator
def limits(
    *,
    operator: Operator,
    workers: Annotated[
        float | None, typer.Option(min=0, help="Workers for jobs without database.")
    ] = None,
    db_workers: Annotated[
        float | None, typer.Option(min=0, help="Workers for database jobs.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Back to what is configured.")] = False,
) -> None:
    """Set how much runs at a time, until --reset. What is not named is as configured.

    Running jobs are not affected.

    Example: rap backend limits tpp --workers 12 --why 'more memory'
    """
    from rap.contracts.workflows import LIMITS
    from rap.messages.orders import LimitsOrder
    from rap.rows import BackendRow

    numbers = [number for number in (workers, db_workers) if number is not None]
    if reset == bool(numbers):
        raise typer.BadParameter("give --workers, --db-workers or both; or --reset alone")
    if not all(math.isfinite(number) for number in numbers):
        raise typer.BadParameter("--workers and --db-workers must be finite numbers")
    message = LimitsOrder(
        max_workers=workers, max_db_workers=db_workers, by=operator.by, why=operator.why
    )

    def shows(row: BackendRow) -> bool:
        pairs = ((workers, row.max_workers), (db_workers, row.max_db_workers))
        return row.limits_ordered is not reset and all(
            wanted is None or wanted == now for wanted, now in pairs
        )

    row = operator.order(LIMITS, message, shows)
    source = "as configured" if reset else "ordered"
    numbers_now = f"workers={row.max_workers:g} db-workers={row.max_db_workers:g} ({source})"
    undo = "" if reset else f" Undo: rap backend limits {operator.backend} --reset"
    operator.tell(
        row, f"[{operator.backend}] {numbers_now}", f"Running jobs are not affected.{undo}"
    )
