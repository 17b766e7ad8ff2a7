"""From settings to a running API, in one process or in several."""

import asyncio
import socket
from contextlib import ExitStack

import structlog
import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from api import metrics
from api.app import create_app
from rap import garbage_collection
from rap.records import Records
from rap.records.migrations import upgrade_when_up
from rap.settings import ApiSettings, RecordsSettings, load
from rap.telemetry import export, logs
from rap.temporal.client import connect
from rap.temporal.health import Watch
from workflows.client import TemporalOrchestrator

log = structlog.get_logger()

IDENTITY = "rap-api"
HUNG_AFTER = 60
"""Seconds without a sign of life after which a process is replaced."""
GRACE = 5
"""Seconds, beyond the longest answer, for requests to end when the process is told to."""


def run(settings: ApiSettings, url: str) -> None:
    """Serve until told to stop by SIGTERM or SIGINT, then finish what has begun.

    The tables of the read model at ``url`` are made or changed first.

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
        access_log=False,  # api.access_log tells more, and no queries
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
    logs.configure(settings.loglevel)
    traces = export.start(export.Service.API, version=settings.version)
    records = Records.connect(load(RecordsSettings).url)
    orchestrator = TemporalOrchestrator(
        lambda: connect(identity=IDENTITY),
        within=settings.rap_api_timeout,
        count=metrics.count_order,
    )
    closing = ExitStack()
    closing.callback(export.stop, traces)
    closing.callback(records.close)
    temporal = Watch(lambda: connect(identity=IDENTITY))
    made = create_app(settings, records, orchestrator, temporal=temporal, closing=closing)
    garbage_collection.collect_less()
    return made
