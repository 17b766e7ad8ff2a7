"""``rap backend prepare-for-reboot`` (controller.md 12.5, 15.3)."""

from rap import ids
from rap.cli import asking, environment, show
from rap.cli.backend_orders import Desk, Given, flag_lines, pause_at
from rap.cli.jobs import Job, has_ended, jobs_of
from rap.errors import RapError
from rap.messages import RebootOrder
from rap.operations.flags import FlagName
from rap.operations.reboot import (
    QUESTION,
    Readiness,
    is_yes,
    readiness,
    status_lines,
    warning,
)
from rap.rows import BackendRow, OrderKind


def prepare(given: Given, *, yes: bool) -> int:
    """Pause the backend and send its running jobs back to waiting; the exit code.

    Raises:
        RapError: the answer to the question was not ``y``; nothing was changed.
    """
    desk = Desk(given)
    if not yes:
        show.say(desk.out, warning(desk.backend))
        if not is_yes(asking.answer(desk.out, QUESTION)):
            raise RapError("Aborted; nothing was changed.")
    show.say(desk.out, f"pausing backend {desk.backend}...")
    # First, so that no job starts after the list was made.
    paused = pause_at(desk, on=True)
    for line in flag_lines(paused, [FlagName.PAUSED]):
        show.say(desk.out, line)
    message = RebootOrder(by=desk.author.by, why=desk.author.why)
    row = desk.order("prepare_for_reboot", message, _is_noted)
    for slug in _slugs(paused):
        show.say(desk.out, f"resetting job {slug} to PENDING")
        show.say(desk.out, f"Killing job {slug}")
    desk.tell(row, ())
    return 0


def _is_noted(row: BackendRow) -> bool:
    return row.paused and any(one.kind is OrderKind.PREPARE_FOR_REBOOT for one in row.orders)


def status(given: Given) -> int:
    """Say how far the backend is; changes nothing; the exit code."""
    desk = Desk(given)
    row = desk.state()
    over = {job_id for job_id, job in _jobs(row).items() if has_ended(job)}
    state = readiness(row, over)
    if given.as_json:
        show.print_json(_document(state))
    else:
        for line in status_lines(state):
            show.say(desk.out, line)
    return 0


def _document(state: Readiness) -> dict[str, object]:
    return {**state._asdict(), "ready": state.is_ready}


def _slugs(row: BackendRow) -> list[str]:
    """The names of the jobs that run (controller.md 1.2)."""
    jobs = _jobs(row)
    return [
        ids.job_slug(slot.workspace, jobs[slot.job_id]["action"], slot.job_id)
        if slot.job_id in jobs
        else slot.job_id
        for slot in row.slots
    ]


def _jobs(row: BackendRow) -> dict[str, Job]:
    """The jobs of the RAPs that hold slots, by their ids."""
    records = environment.open_records()
    rap_ids = [slot.rap_id for slot in row.slots]
    return {job["identifier"]: job for job in jobs_of(records, rap_ids)}
