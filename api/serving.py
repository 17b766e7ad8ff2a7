"""From settings to a running API, in one process or in several."""

import asyncio
import socket
from contextlib import ExitStack

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from api.app import create_app
from api.orchestrator import TemporalOrchestrator
from rap import collecting, exporting, telemetry
from rap.records import Records
from rap.records.migrations import upgrade_when_up
from rap.settings import ApiSettings, RecordsSettings, load
from rap.temporal import connect

log = structlog.get_logger()

IDENTITY = "rap-api"
HUNG_AFTER = 60
"""Seconds without a sign of life after which a process is replaced."""
GRACE = 5
"""Seconds, beyond the longest answer, for requests to end when the process is told to."""


def run(settings: ApiSettings, url: str) -> None:
    """Serve until told to stop by SIGTERM or SIGINT, then finish what has begun.

    Args:
        settings: of this process and those it starts.
        url: of the read model, whose tables are made or changed first.

    Raises:
        ConfigurationError: the tables belong to a later version of the product.
        SystemExit: the port is taken.
    """
    asyncio.run(upgrade_when_up(url, on_wait=log.warning))
    config = uvicorn.Config(
        "api.serving:app",
        factory=True,
        host=settings.rap_api_host,
        port=settings.rap_api_port,
        workers=settings.rap_api_workers,
        lifespan="on",
        log_config=None,
        access_log=False,  # api.observation tells more, and no queries
        server_header=False,
        # A process that has just been started is busy importing, on a busy host for long.
        timeout_worker_healthcheck=HUNG_AFTER,
        timeout_graceful_shutdown=int(settings.rap_api_timeout) + GRACE,
    )
    if settings.rap_api_workers == 1:
        uvicorn.Server(config).run()
        return
    listener: socket.socket = config.bind_socket()
    try:
        Multiprocess(config, sockets=[listener]).run()
    finally:
        listener.close()


def app() -> FastAPI:
    """The application of one process, from its environment.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    settings = load(ApiSettings)
    telemetry.configure(settings.loglevel)
    traces = exporting.start(exporting.Service.API, version=settings.version)
    records = Records.connect(load(RecordsSettings).url)
    orchestrator = TemporalOrchestrator(
        lambda: connect(identity=IDENTITY), within=settings.rap_api_timeout
    )
    closing = ExitStack()
    closing.callback(exporting.stop, traces)
    closing.callback(records.close)
    made = create_app(settings, records, orchestrator, closing=closing)
    collecting.collect_less()
    return made
