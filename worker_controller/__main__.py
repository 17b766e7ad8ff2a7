"""``python -m worker_controller``: the controller worker as a process.

Exit status: 0 after SIGTERM or Ctrl-C, 2 for a setting to be mended.
"""

import asyncio
import os
import signal
import sys

import structlog
from temporalio.client import Client
from temporalio.runtime import Runtime

from rap import garbage_collection
from rap.errors import ConfigurationError
from rap.records import Records
from rap.records.migrations import upgrade_when_up
from rap.settings import ControllerSettings, RecordsSettings, load
from rap.telemetry import export, logs
from rap.telemetry import traces as tracing
from rap.temporal.client import connect, connect_when_up, runtime_with_metrics
from rap.temporal.health import Watch
from worker_controller.ticks import tick_for_ever
from worker_controller.worker import IDENTITY, serve

log = structlog.get_logger()


async def _ready(url: str, runtime: Runtime | None) -> Client:
    """A client, once both the read model and Temporal can be worked with."""
    await upgrade_when_up(url, on_wait=log.warning)
    return await connect_when_up(identity=IDENTITY, on_wait=log.warning, runtime=runtime)


async def _serve(settings: ControllerSettings, url: str, runtime: Runtime | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    watching = asyncio.create_task(Watch(lambda: connect(identity=IDENTITY)).run())
    getting_ready = asyncio.create_task(_ready(url, runtime))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({getting_ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        client, records = await getting_ready, Records.connect(url)
        ticking = None
        if tracing.is_on() and settings.tick_poll_interval > 0:
            ticking = asyncio.create_task(tick_for_ever(records, settings.tick_poll_interval))
        await serve(settings, client, records, stop)
        if ticking is not None:
            ticking.cancel()
    watching.cancel()


def main() -> None:
    """Run the process."""
    traces = None
    try:
        settings = load(ControllerSettings)
        logs.configure(settings.loglevel, debug_file=settings.debug_log_file)
        runtime = runtime_with_metrics(
            settings.rap_controller_metrics_address, setting="RAP_CONTROLLER_METRICS_ADDRESS"
        )
        traces = export.start(export.Service.CONTROLLER, version=settings.version)
        settings.workdir.mkdir(parents=True, exist_ok=True)
        garbage_collection.collect_less()
        asyncio.run(_serve(settings, load(RecordsSettings).url, runtime))
        code = 0
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        code = 2
    export.stop(traces)
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads may abort the interpreter's own way out; that must not become our code.
    os._exit(code)


if __name__ == "__main__":
    main()
