"""``python -m worker_controller``: the controller worker as a process.

Exit status: 0 after SIGTERM or Ctrl-C, 2 for a setting to be mended.
"""

import asyncio
import os
import signal
import sys

import structlog
from temporalio.client import Client

from rap import telemetry
from rap.errors import ConfigurationError
from rap.records import Records
from rap.records.migrations import upgrade_when_up
from rap.settings import ControllerSettings, RecordsSettings, load
from rap.temporal import connect_when_up
from worker_controller.worker import IDENTITY, serve

log = structlog.get_logger()


async def _ready(url: str) -> Client:
    """A client, once both the read model and Temporal can be worked with."""
    await upgrade_when_up(url, on_wait=log.warning)
    return await connect_when_up(identity=IDENTITY, on_wait=log.warning)


async def _serve(settings: ControllerSettings, url: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    getting_ready = asyncio.create_task(_ready(url))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({getting_ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        await serve(settings, await getting_ready, Records.connect(url), stop)


def main() -> None:
    """Run the process."""
    try:
        settings = load(ControllerSettings)
        telemetry.configure(settings.loglevel)
        settings.workdir.mkdir(parents=True, exist_ok=True)
        asyncio.run(_serve(settings, load(RecordsSettings).url))
        code = 0
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        code = 2
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads may abort the interpreter's own way out; that must not become our code.
    os._exit(code)


if __name__ == "__main__":
    main()
