"""The words of ``prepare_for_reboot`` (docs/spec/controller.md 12.5, 15.3). Pure."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from rap.rows import BackendRow, OrderKind, SlotEntry


def warning(backend: str) -> str:
    """What is said before the question."""
    return (
        "== DANGER ZONE ==\n"
        "\n"
        f"This will kill all running jobs on backend '{backend}' and reset them to the PENDING "
        "state, ready\n"
        "to be restarted following a reboot.\n"
        "\n"
        "It should only be run when the job-runner service has been paused on the backend."
    )


class Readiness(NamedTuple):
    """How far a backend is on its way to a reboot."""

    backend: str
    paused: bool
    running: int
    being_cancelled: int

    @property
    def is_ready(self) -> bool:
        """Whether nothing would be lost by a reboot."""
        return self.paused and not self.running and not self.being_cancelled


def readiness(row: BackendRow, over: Collection[str]) -> Readiness:
    """Count the jobs that hold a slot; one of them whose end is recorded is being cancelled."""
    stopping = sum(slot.job_id in over or is_being_stopped(row, slot) for slot in row.slots)
    return Readiness(row.slug, row.paused, len(row.slots) - stopping, stopping)


def is_being_stopped(row: BackendRow, slot: SlotEntry) -> bool:
    """Whether the backend has told a job that holds a slot to stop and wait again."""
    if row.maintenance and slot.requires_db:
        return True
    return any(
        order.at >= slot.since
        and (
            order.kind is OrderKind.PREPARE_FOR_REBOOT
            or (order.kind is OrderKind.HOST_LOST and order.detail == slot.host)
        )
        for order in row.orders
    )


def status_lines(state: Readiness) -> Iterator[str]:
    """The output of ``--status``."""
    paused = "paused" if state.paused else "not paused"
    yield ""
    yield "== PREPARING FOR REBOOT =="
    yield f"1) backend '{state.backend}' is {paused}"
    yield f"2) {state.running} job(s) are running"
    if state.being_cancelled:
        yield f"3) {state.being_cancelled} job(s) are being cancelled"
    if not state.paused:
        yield (
            f"Backend '{state.backend}' is not paused. Run prepare_for_reboot, "
            "then check the status again"
        )
    if state.is_ready:
        yield ""
        yield "== READY TO REBOOT =="
        yield "Safe to reboot now"
