"""``rap backend pause`` and the other orders that are done at once (controller.md 12, 15)."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rap.cli import asking, environment, orders, show
from rap.cli.jobs import has_ended, jobs_of
from rap.cli.orders_to_backend import Author, order, state_of
from rap.cli.status import unknown_of
from rap.egress import SILENT_AFTER_S
from rap.errors import RapError
from rap.messages import USUAL_PRIORITY, LimitsOrder, LostHost, PriorityOrder, Switch
from rap.models import Model
from rap.operations.flags import MAINTENANCE_FLAGS, FlagName, flags_of
from rap.operations.moments import ago
from rap.operations.reboot import QUESTION, is_yes
from rap.rows import BackendRow, MaintenanceType, OrderKind


@dataclass(frozen=True)
class Given:
    """What comes with every order."""

    backend: str | None
    by: str | None = None
    why: str = ""
    data: Path | None = None
    as_json: bool = False


class Desk:
    """Where an order is given: the backend it is for, and who gives it.

    Raises:
        ConfigurationError: there is no such backend, or the reason is too long.
    """

    def __init__(self, given: Given) -> None:
        settings = environment.enter(given.data)
        self.backend = environment.backend_of(given.backend, settings)
        self.author = Author.of(given.by, given.why)
        self.as_json = given.as_json
        self.out = show.console(errors=given.as_json)

    def order(self, signal: str, message: Model, shows: Callable[[BackendRow], bool]) -> BackendRow:
        """Give an order; the backend once it is carried out."""

        async def give() -> BackendRow:
            return await order(await orders.connected(), self.backend, signal, message, shows)

        with show.patience(show.console(errors=True), f"Waiting for backend {self.backend} …"):
            return asyncio.run(give())

    def state(self) -> BackendRow:
        """The backend's own account of itself."""

        async def ask() -> BackendRow:
            return await state_of(await orders.connected(), self.backend)

        with show.patience(show.console(errors=True), f"Waiting for backend {self.backend} …"):
            return asyncio.run(ask())

    def tell(self, row: BackendRow, lines: Iterable[str]) -> None:
        """Say what was done, in words or as a document."""
        if self.as_json:
            document = row.model_dump(mode="json")
            latest = document["orders"][-1] if row.orders else None
            show.print_json({"backend": self.backend, "order": latest, "state": document})
        else:
            for line in lines:
                show.say(self.out, line)


def pause(given: Given, *, on: bool, flags_only: bool = False) -> int:
    """Carry out ``rap backend pause`` and ``unpause``; the exit code."""
    desk = Desk(given)
    row = pause_at(desk, on=on)
    lines = flag_lines(row, [FlagName.PAUSED])
    if not flags_only:
        lines.append(
            f"{_count(len(row.slots), 'running job')} will go on to the end, none will start. "
            f"Undo: rap backend unpause {desk.backend}"
            if on
            else f"{_count(len(row.queue), 'waiting job')} will start as slots become free."
        )
    desk.tell(row, lines)
    return 0


def pause_at(desk: Desk, *, on: bool) -> BackendRow:
    """Pause or unpause the backend of a desk."""
    message = Switch(on=on, by=desk.author.by, why=desk.author.why)
    return desk.order("pause", message, lambda row: row.paused is on)


def maintenance(
    given: Given, *, on: bool, disable_checks: bool = False, flags_only: bool = False
) -> int:
    """Carry out ``rap backend db-maintenance on|off``; the exit code."""
    desk = Desk(given)
    row = maintenance_at(desk, on=on, disable_checks=disable_checks)
    lines = flag_lines(row, MAINTENANCE_FLAGS)
    if not flags_only:
        lines.append(_maintenance_sentence(row))
    desk.tell(row, lines)
    return 0


def _maintenance_sentence(row: BackendRow) -> str:
    if row.maintenance:
        stopped = sum(slot.requires_db for slot in row.slots)
        return (
            f"{_count(stopped, 'running database job')} will be stopped and wait; other jobs go "
            f"on. Undo: rap backend db-maintenance off {row.slug}"
        )
    return "Database jobs will start as slots become free; the periodic checks count again."


def maintenance_at(desk: Desk, *, on: bool, disable_checks: bool) -> BackendRow:
    """Switch the database maintenance of the backend of a desk by hand."""
    message = Switch(
        on=on, by=desk.author.by, why=desk.author.why, disable_checks=on and disable_checks
    )

    def shows(row: BackendRow) -> bool:
        manual = row.maintenance_type is MaintenanceType.MANUAL
        return manual is on and row.checks_disabled is message.disable_checks

    return desk.order("database_maintenance", message, shows)


def flag_lines(row: BackendRow, names: Sequence[str]) -> list[str]:
    """The lines of some flags (controller.md 15.1)."""
    return [flag.line for flag in flags_of(row, names)]


def limits(given: Given, *, workers: float | None, db_workers: float | None) -> int:
    """Carry out ``rap backend limits``; without numbers those configured are in force again."""
    desk = Desk(given)
    message = LimitsOrder(
        max_workers=workers, max_db_workers=db_workers, by=desk.author.by, why=desk.author.why
    )
    ordered = (workers, db_workers) != (None, None)

    def shows(row: BackendRow) -> bool:
        pairs = ((workers, row.max_workers), (db_workers, row.max_db_workers))
        return row.limits_ordered is ordered and all(
            wanted is None or wanted == now for wanted, now in pairs
        )

    row = desk.order("limits", message, shows)
    source = "ordered" if ordered else "as configured"
    numbers = f"workers={row.max_workers:g} db-workers={row.max_db_workers:g} ({source})"
    undo = f" Undo: rap backend limits {desk.backend} --reset" if ordered else ""
    desk.tell(row, [f"[{desk.backend}] {numbers}", f"Running jobs are not affected.{undo}"])
    return 0


def priority(given: Given, *, rap_id: str, level: int) -> int:
    """Carry out ``rap backend priority``: the backend is that of the RAP; the exit code."""
    environment.enter(given.data)
    records = environment.open_records()
    jobs = jobs_of(records, [rap_id])
    if not jobs:
        raise RapError(unknown_of(records, [rap_id])[rap_id])
    if all(has_ended(job) for job in jobs):
        raise RapError(f"All jobs of RAP {rap_id} have ended; its priority was not changed.")
    desk = Desk(
        Given(jobs[0]["backend"], given.by, given.why, data=given.data, as_json=given.as_json)
    )
    message = PriorityOrder(rap_id=rap_id, priority=level, by=desk.author.by, why=desk.author.why)
    detail = f"{rap_id} {level}"

    def shows(row: BackendRow) -> bool:
        return (
            any((one.kind, one.detail) == (OrderKind.PRIORITY, detail) for one in row.orders)
            and row.priorities.get(rap_id, USUAL_PRIORITY) == level
        )

    row = desk.order("prioritise", message, shows)
    waiting = _count(sum(entry.rap_id == rap_id for entry in row.queue), "job")
    told = f"RAP {rap_id} has priority {level} of 1 (first) to 5 (last); {waiting} of it waiting."
    desk.tell(row, [f"[{desk.backend}] {told}"])
    return 0


def host_lost(given: Given, *, host: str, yes: bool) -> int:
    """Carry out ``rap backend host-lost``; the exit code."""
    desk = Desk(given)
    before = desk.state()
    known = {agent.host: agent.at for agent in before.agents}
    jobs = [slot for slot in before.slots if slot.host == host]
    if host not in known and not jobs:
        hosts = ", ".join(sorted(known)) or "none"
        raise RapError(f"Backend '{desk.backend}' has no host {host!r}; its hosts are: {hosts}")
    if not yes:
        now = time.time()
        seen = known.get(host)
        show.say(
            desk.out, f"Host {host} of backend '{desk.backend}' last reported {ago(seen, now)}."
        )
        if seen is not None and now - seen < SILENT_AFTER_S:
            show.say(desk.out, "It seems to be ALIVE: its containers would go on running.")
        show.say(
            desk.out,
            f"{_count(len(jobs), 'job')} will be given up there and start again elsewhere. Make "
            "sure that the host is down, or that its containers are.",
        )
        if not is_yes(asking.answer(desk.out, QUESTION)):
            raise RapError("Nothing was changed.")
    message = LostHost(host=host, by=desk.author.by, why=desk.author.why)

    def shows(row: BackendRow) -> bool:
        return any((one.kind, one.detail) == (OrderKind.HOST_LOST, host) for one in row.orders)

    row = desk.order("host_lost", message, shows)
    desk.tell(
        row,
        [f"[{desk.backend}] host {host} is given up; {_count(len(jobs), 'job')} will start again."],
    )
    return 0


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
