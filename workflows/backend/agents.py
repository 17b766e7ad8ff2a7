"""The agents of a backend: who has reported, and how many more jobs each takes. Pure."""

from collections.abc import Iterable, Iterator, Mapping

from rap.egress import SILENT_AFTER_S, AgentReport, Fault
from rap.messages.slots import Reservation

UNREPORTED_FOR_S = 45
"""A granted job that no agent has reported for so long may have vanished."""

FORGET_AFTER_S = 7 * 24 * 3600


class Agents:
    """The latest report of each host; any of them was ``last_seen`` then, by our clock."""

    def __init__(self, reports: Iterable[AgentReport], last_seen: float | None) -> None:
        self._reports = {report.host: report for report in reports}
        self.last_seen = last_seen

    def take(self, report: AgentReport, now: float) -> None:
        """Take a report; our clock, not the agent's, tells whether it falls silent.

        A host with other files than a host that is in contact is refused: what one job leaves, the
        next could not find. Who was there first stays; who comes when the other is gone or declared
        lost takes its place.
        """
        closed = {*report.closed} - {Fault.OTHER_STORAGE}
        if self._has_other_files(report, now):
            closed.add(Fault.OTHER_STORAGE)
        update = {"at": now, "closed": tuple(sorted(closed))}
        self._reports[report.host] = report.model_copy(update=update)
        self.last_seen = now

    def _has_other_files(self, report: AgentReport, now: float) -> bool:
        accepted = {
            host: each.storage
            for host, each in self.living(now).items()
            if Fault.OTHER_STORAGE not in each.closed
        }
        storage = report.storage
        if storage is None or accepted.pop(report.host, None) == storage:
            return False
        return any(other not in (None, storage) for other in accepted.values())

    def forget(self, host: str) -> None:
        """Expect nothing more from a host."""
        self._reports.pop(host, None)

    def known(self, now: float) -> tuple[AgentReport, ...]:
        """All that have reported within the last days."""
        return tuple(
            report for report in self._reports.values() if report.at > now - FORGET_AFTER_S
        )

    def living(self, now: float) -> dict[str, AgentReport]:
        """Those that have reported just now, by host."""
        return {
            host: report
            for host, report in self._reports.items()
            if report.at > now - SILENT_AFTER_S
        }

    def room(self, running: Mapping[str, Reservation], now: float) -> dict[str, int]:
        """How many more jobs each living agent takes, by what it said and was given since."""
        living = self.living(now)
        room = {host: report.room for host, report in living.items()}
        reported = {(host, job.job_id) for host, report in living.items() for job in report.jobs}
        for job_id, job in running.items():
            if job.host in room and (job.host, job_id) not in reported:
                room[job.host] -= 1
        return room

    def unreported(self, running: Mapping[str, Reservation], now: float) -> Iterator[Reservation]:
        """The jobs that have held a slot for a while without being in any report."""
        reported = {job.job_id for report in self._reports.values() for job in report.jobs}
        for job_id, job in running.items():
            if job_id not in reported and job.since < now - UNREPORTED_FOR_S:
                yield job
