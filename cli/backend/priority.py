"""``rap backend priority``: how urgent a RAP is (docs/spec/controller.md 12)."""

from typing import Annotated

import typer

from cli import environment
from cli.backend.orders import Operator
from cli.console import counted
from cli.options import By, Data, Json, RapId, Why
from rap.errors import RapError


def priority(
    *,
    rap_id: RapId,
    level: Annotated[
        int, typer.Argument(metavar="1-5", min=1, max=5, help="1 is first, 5 last, 3 usual.")
    ],
    why: Why = "",
    by: By = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Set how urgent a RAP is: its waiting jobs start before those of lesser priority.

    Example: rap backend priority a1b2c3d4e5f6g7h8 1 --why 'for the audit'
    """
    from cli.rap_jobs import has_ended, known_jobs_of
    from rap.contracts.workflows import PRIORITISE
    from rap.messages.orders import USUAL_PRIORITY, PriorityOrder
    from rap.rows import BackendRow, OrderKind

    environment.enter(data)
    jobs = known_jobs_of(environment.open_records(), rap_id)
    if all(has_ended(job) for job in jobs):
        raise RapError(f"All jobs of RAP {rap_id} have ended; its priority was not changed.")
    operator = Operator(backend=jobs[0]["backend"], by=by, why=why, data=data, as_json=as_json)

    def shows(row: BackendRow) -> bool:
        ordered = (OrderKind.PRIORITY, f"{rap_id} {level}")
        return (
            any((one.kind, one.detail) == ordered for one in row.orders)
            and row.priorities.get(rap_id, USUAL_PRIORITY) == level
        )

    message = PriorityOrder(rap_id=rap_id, priority=level, by=operator.by, why=operator.why)
    row = operator.order(PRIORITISE, message, shows)
    queue = row.queue
    if row.waiting > len(queue):
        # Of a long queue the backend itself tells the beginning alone.
        queue = environment.open_records().backends([operator.backend])[operator.backend].queue
    waiting = counted(sum(entry.rap_id == rap_id for entry in queue), "job")
    told = f"RAP {rap_id} has priority {level} of 1 (first) to 5 (last); {waiting} of it waiting."
    operator.tell(row, f"[{operator.backend}] {told}")
