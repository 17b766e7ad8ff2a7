"""``rap backend prepare-for-reboot`` (docs/spec/controller.md 12.5, 15.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli import environment, prompts
from cli.backend.orders import Operator, by_operator
from cli.console import reply
from cli.options import Status, Yes
from rap import ids
from rap.errors import RapError

if TYPE_CHECKING:
    from rap.records import StoredJob
    from rap.rows import BackendRow


@by_operator
def prepare_for_reboot(*, operator: Operator, status: Status = False, yes: Yes = False) -> None:
    """Pause, kill all running jobs, and let them start again after `unpause`.

    Then ask with --status until it says that it is safe to reboot.

    Example: rap backend prepare-for-reboot tpp -s
    """
    from cli.operations.flags import paused_lines
    from cli.operations.reboot import readiness, status_lines, warning
    from rap.contracts.workflows import PREPARE_FOR_REBOOT
    from rap.messages.orders import RebootOrder
    from rap.rows import OrderKind

    def is_noted(row: BackendRow) -> bool:
        return row.paused and any(one.kind is OrderKind.PREPARE_FOR_REBOOT for one in row.orders)

    if status:
        row = operator.state()
        ended = {job_id for job_id, job in _jobs(row).items() if job.status_code.is_final}
        state = readiness(row, ended)
        document = {**state._asdict(), "ready": state.is_ready}
        reply(document, status_lines(state), as_json=operator.as_json)
        return
    if not yes:
        operator.say(warning(operator.backend))
        if not prompts.agrees(operator.out):
            raise RapError("Aborted; nothing was changed.")
    operator.say(f"pausing backend {operator.backend}...")
    # First, so that no job starts after the list was made.
    paused = operator.pause(on=True)
    for line in paused_lines(paused):
        operator.say(line)
    message = RebootOrder(by=operator.by, why=operator.why)
    row = operator.order(PREPARE_FOR_REBOOT, message, is_noted)
    for slug in _slugs(paused):
        operator.say(f"resetting job {slug} to PENDING")
        operator.say(f"Killing job {slug}")
    operator.tell(row)


def _slugs(row: BackendRow) -> list[str]:
    """The names of the jobs that run (docs/spec/controller.md 1.2)."""
    jobs = _jobs(row)
    return [
        ids.job_slug(slot.workspace, jobs[slot.job_id].action, slot.job_id)
        if slot.job_id in jobs
        else slot.job_id
        for slot in row.slots
    ]


def _jobs(row: BackendRow) -> dict[str, StoredJob]:
    """The jobs of the RAPs that hold slots, by their ids."""
    records = environment.open_records()
    rap_ids = {slot.rap_id for slot in row.slots}
    return {job.id: job for rap_id in rap_ids for job in records.rap(rap_id)}
