"""Which host takes a job: those that have room, and whose trouble does not concern it. Pure."""

from collections.abc import Mapping

from rap.egress import CLOSES_DATABASE, CLOSES_HOST, AgentReport
from rap.messages.slots import SlotRequest


class Hosts:
    """The living hosts that take more jobs; false once all are full."""

    def __init__(
        self, room: Mapping[str, int], reports: Mapping[str, AgentReport] | None = None
    ) -> None:
        reports = reports or {}
        self._free = {
            host: places
            for host, places in sorted(room.items())
            if places > 0 and not (host in reports and CLOSES_HOST & {*reports[host].closed})
        }
        self._without_database = {
            host for host, report in reports.items() if CLOSES_DATABASE & {*report.closed}
        }
        self._missing = {
            host: frozenset(report.missing_images)
            for host, report in reports.items()
            if report.missing_images
        }

    def __bool__(self) -> bool:
        return bool(self._free)

    @property
    def take_database_jobs(self) -> bool:
        """Whether any of them reaches the database."""
        return not self._free.keys() <= self._without_database

    def admit(self, request: SlotRequest) -> bool:
        """Whether any of them takes this job."""
        return any(self._admits(host, request) for host in self._free)

    def take(self, request: SlotRequest) -> str:
        """Use one place of the host that has most, among those that take this job."""
        host = max(
            (host for host in self._free if self._admits(host, request)),
            key=self._free.__getitem__,
        )
        self._free[host] -= 1
        if not self._free[host]:
            del self._free[host]
        return host

    def _admits(self, host: str, request: SlotRequest) -> bool:
        if request.requires_db and host in self._without_database:
            return False
        return not (request.image and request.image in self._missing.get(host, ()))
