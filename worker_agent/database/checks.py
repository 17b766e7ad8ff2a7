"""The periodic questions to a backend's database: is it in maintenance, how far do its data reach?

Each is one run of a container on the database network (docs/spec/agent.md 12). What it prints stays
here; :mod:`worker_agent.database.answers` says what may leave.
"""

import asyncio
from collections.abc import Callable, Sequence
from secrets import token_hex
from typing import TypeVar

import structlog

from rap.egress import DatabaseStatusAnswer, DataCheckAnswer, Fault
from rap.errors import JobFault, PermanentFault, TransientFault
from rap.ids import CheckKind
from rap.messages.checks import DatabaseStatusOrder, DataCheckOrder
from rap.models import DEFAULT_DATABASE
from worker_agent import secrets
from worker_agent.database.answers import data_check_finding, status_finding
from worker_agent.database.container import check_config, labels_of
from worker_agent.database.spans import CheckSpan, Order
from worker_agent.engine.facts import CheckRun
from worker_agent.engine.images import ensure_image
from worker_agent.execution import reach_database
from worker_agent.host import Host

log = structlog.get_logger()

RUN_LIMIT = 300
"""Seconds that the program of a check may take (docs/spec/agent.md 12)."""

Finding = TypeVar("Finding")


class DatabaseChecks:
    """The checks of one agent host.

    Expected failures are answers with their fault; the details are in the agent's log, and what
    the program last wrote when it failed is in ``state/checks/<kind>.log``.
    """

    def __init__(self, host: Host, limit: int = RUN_LIMIT) -> None:
        self._host = host
        self._limit = limit
        self._owner = str(host.storage.state_dir)

    async def status(self, order: DatabaseStatusOrder) -> DatabaseStatusAnswer:
        """Whether a database is in maintenance."""
        log.info(f"Running DBSTATUS task on database '{order.database_name}'")
        kind = CheckKind.STATUS
        span = CheckSpan("DBSTATUS", self._host.settings.backend, order)
        try:
            finding = await self._ask(
                kind, order, order.database_name, ("in_maintenance_mode",), status_finding
            )
        except JobFault as fault:
            span.failed(fault.fault)
            return DatabaseStatusAnswer(fault=_logged(kind, fault))
        span.found_status(finding)
        log.info("DBSTATUS task done", status=finding.status.value, build_count=finding.build_count)
        return DatabaseStatusAnswer(status=finding.status)

    async def data_check(self, order: DataCheckOrder) -> DataCheckAnswer:
        """Whether the hospital data of the default database reach the expected month."""
        log.info("Running DBDATACHECK task")
        kind = CheckKind.DATA
        span = CheckSpan("DBDATACHECK", self._host.settings.backend, order)
        args = ("hes_cutoff_date_check", order.hes_expected_activity_month)
        try:
            status = await self._ask(kind, order, DEFAULT_DATABASE, args, data_check_finding)
        except JobFault as fault:
            span.failed(fault.fault)
            return DataCheckAnswer(fault=_logged(kind, fault))
        span.found_data(status)
        log.info("DBDATACHECK task done", status=status.value)
        return DataCheckAnswer(status=status)

    async def remove_left_overs(self, kind: CheckKind | None = None) -> None:
        """Remove what a killed agent left of its checks."""
        for name in await self._host.engine.checks.remove_left_over(labels_of(self._owner, kind)):
            log.info("removed the container of a database check that was left over", name=name)

    async def _ask(
        self,
        kind: CheckKind,
        order: Order,
        database: str,
        args: Sequence[str],
        read: Callable[[bytes], Finding],
    ) -> Finding:
        """Run the program of a check, and read its answer."""
        host, settings = self._host, self._host.settings
        url = secrets.database_url(database, settings.backend)
        database_host = await reach_database(host, url)
        config = check_config(
            settings,
            kind=kind,
            owner=self._owner,
            image=await ensure_image(
                host.engine, order.image, order.image_sha, settings, pause=host.pauses.pull
            ),
            args=args,
            database_url=url,
            database_host=database_host,
        )
        # There is one check of a kind at a time: what is there was given up.
        await self.remove_left_overs(kind)
        run = await host.engine.checks.run(f"os-{kind}-{token_hex(4)}", config, self._limit)
        try:
            if run.exit_code != 0:
                raise TransientFault(
                    Fault.CHECK_FAILED, f"the program of the check ended with {run.exit_code}"
                )
            return read(run.output)
        except JobFault:
            await asyncio.to_thread(self._keep, kind, run)
            raise

    def _keep(self, kind: CheckKind, run: CheckRun) -> None:
        """Keep what a failed check wrote, for people on this host only."""
        file = self._host.storage.state_dir / "checks" / f"{kind}.log"
        file.parent.mkdir(mode=0o700, exist_ok=True)
        file.touch(mode=0o600)
        file.write_bytes(b"".join((b"stdout:\n", run.output, b"\nstderr:\n", run.errors)))
        log.warning(f"what the check wrote is in {file}")


def _logged(kind: CheckKind, fault: JobFault) -> Fault:
    """Log a fault; what of it may leave."""
    say = log.error if isinstance(fault, PermanentFault) else log.warning
    say(f"the {kind} check came to nothing: {fault.fault}: {fault}")
    return fault.fault
