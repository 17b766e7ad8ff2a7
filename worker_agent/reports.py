"""The host's sign of life to the workflow of its backend (docs/explanation/architecture.md)."""

import asyncio
import shutil
import time
from importlib.metadata import version as package_version

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from rap.contracts.workflows import REPORT
from rap.egress import AgentReport, Fault
from rap.errors import JobFault
from rap.ids import backend_workflow_id
from rap.temporal.messages import send_signal
from worker_agent.host import Host
from worker_agent.workspace.storage_id import storage_id

log = structlog.get_logger()

PACKAGE = "opensafely-rap"
UNKNOWN_VERSION = "unknown"
COALESCE = 0.8
"""Seconds in which changes gather, so that a busy host sends about one report a second."""
TRY_AGAIN = 1.0
"""Seconds after a report that could not be delivered."""
PATIENCE = 10.0
"""Seconds for one delivery."""


class Reporter:
    """Sends a report every interval, and soon after each change.

    Reports repeat everything, so one that is lost costs nothing but freshness.
    """

    def __init__(self, host: Host, client: Client) -> None:
        self._host = host
        self._client, self._backend = client, backend_workflow_id(host.settings.backend)
        self._version = host.settings.version
        if self._version == UNKNOWN_VERSION:  # a word of the traces' format, not a version
            self._version = package_version(PACKAGE)
        self._changed = asyncio.Event()
        self._lost = False

    def changed(self) -> None:
        """Something changed that a report shows."""
        self._changed.set()

    async def run(self) -> None:
        """Report until cancelled."""
        engine = await self._engine_version()
        while True:
            self._changed.clear()
            if Fault.ENGINE_UNAVAILABLE in self._host.closures.faults:
                engine = None
            elif engine is None:
                engine = await self._engine_version()
            delivered = await self._send(await self.report(engine))
            pause = self._host.settings.report_interval if delivered else TRY_AGAIN
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
                await asyncio.sleep(COALESCE)
            except TimeoutError:
                engine = await self._engine_version()

    async def report(self, engine: str | None) -> AgentReport:
        """The host as it is now; ``engine`` is its version, ``None`` while it does not answer."""
        host = self._host
        jobs = host.jobs.reported()
        is_open = engine is not None and not host.closures.is_closed
        usage = await asyncio.to_thread(shutil.disk_usage, host.settings.high_privacy)
        return AgentReport(
            backend=host.settings.backend,
            host=host.settings.agent_host,
            at=time.time(),
            version=self._version,
            engine=engine,
            free_disk_bytes=usage.free,
            room=max(0, host.settings.agent_max_jobs - len(jobs)) if is_open else 0,
            storage=await asyncio.to_thread(storage_id, host.settings.high_privacy),
            jobs=tuple(job.progress for job in jobs),
            closed=host.closures.faults,
            missing_images=host.closures.images,
        )

    async def _engine_version(self) -> str | None:
        try:
            return await self._host.engine.system.version()
        except JobFault:
            return None

    async def _send(self, report: AgentReport) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                await send_signal(self._client, REPORT, self._backend, report)
        except (RPCError, TimeoutError) as error:
            not_there = isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND
            if not self._lost and not_there:
                log.info("waiting for the controller to set up this backend")
            elif not self._lost:
                log.warning(f"reports do not arrive, trying on: {error}")
            self._lost = True
            return False
        if self._lost:
            log.info("reports arrive again")
        self._lost = False
        return True
