"""The host's sign of life to the workflow of its backend (architecture.md 2.4)."""

import asyncio
import shutil
import time
from importlib.metadata import version as package_version

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from rap.egress import AgentReport
from rap.errors import JobFault
from rap.ids import backend_workflow_id
from rap.settings import AgentSettings
from worker_agent.host import Host

log = structlog.get_logger()

SIGNAL = "report"
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
        self._handle = client.get_workflow_handle(backend_workflow_id(host.settings.backend))
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
            delivered = await self._send(await self.report(engine))
            pause = self._host.settings.report_interval if delivered else TRY_AGAIN
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
                await asyncio.sleep(COALESCE)
            except TimeoutError:
                engine = await self._engine_version()

    async def report(self, engine: str | None) -> AgentReport:
        """The host as it is now.

        Args:
            engine: version of the engine; ``None`` while it does not answer.
        """
        host = self._host
        jobs = host.jobs.reported()
        usage = await asyncio.to_thread(shutil.disk_usage, host.settings.high_privacy)
        return AgentReport(
            backend=host.settings.backend,
            host=host.settings.agent_host,
            at=time.time(),
            version=_version(host.settings),
            engine=engine,
            free_disk_bytes=usage.free,
            room=max(0, host.settings.agent_max_jobs - len(jobs)) if engine else 0,
            jobs=tuple(job.progress for job in jobs),
        )

    async def _engine_version(self) -> str | None:
        try:
            return await self._host.engine.version()
        except JobFault:
            return None

    async def _send(self, report: AgentReport) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._handle.signal(SIGNAL, report)
        except (RPCError, TimeoutError) as error:
            if not self._lost and _is_not_there(error):
                log.info("waiting for the controller to set up this backend")
            elif not self._lost:
                log.warning(f"reports do not arrive, trying on: {error}")
            self._lost = True
            return False
        if self._lost:
            log.info("reports arrive again")
        self._lost = False
        return True


def _version(settings: AgentSettings) -> str:
    """The version that the deployment gives the agent; else that of the installed package."""
    # The default of the setting is a word of the traces' format, not a version.
    return settings.version if settings.version != UNKNOWN_VERSION else package_version(PACKAGE)


def _is_not_there(error: Exception) -> bool:
    return isinstance(error, RPCError) and error.status is RPCStatusCode.NOT_FOUND
