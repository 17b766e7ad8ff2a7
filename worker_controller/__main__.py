"""``python -m worker_controller``: the controller worker as a process.

Exit status: 0 after SIGTERM or Ctrl-C, 2 for a setting to be mended.
"""

import asyncio
import os
import signal
import sys

import structlog

from rap import telemetry
from rap.errors import ConfigurationError
from rap.records.store import Records
from rap.settings import ControllerSettings, RecordsSettings, load
from rap.temporal import connect_when_up
from worker_controller.worker import IDENTITY, serve

log = structlog.get_logger()


async def _serve(settings: ControllerSettings, records: Records) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    connecting = asyncio.create_task(connect_when_up(identity=IDENTITY, on_wait=log.warning))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        await serve(settings, await connecting, records, stop)


def main() -> None:
    """Run the process."""
    try:
        settings = load(ControllerSettings)
        telemetry.configure(settings.loglevel)
        settings.workdir.mkdir(parents=True, exist_ok=True)
        records = Records.connect(load(RecordsSettings).url)
        asyncio.run(_serve(settings, records))
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
