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


async def _main() -> int:
    try:
        settings = load(ControllerSettings)
        telemetry.configure(settings.loglevel)
        records = Records.connect(load(RecordsSettings).url)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        connecting = asyncio.create_task(connect_when_up(identity=IDENTITY, on_wait=log.warning))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({connecting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return 0
        await serve(settings, await connecting, records, stop)
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


def main() -> None:
    """Run the process."""
    code = asyncio.run(_main())
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads may abort the interpreter's own way out; that must not become our code.
    os._exit(code)


if __name__ == "__main__":
    main()
