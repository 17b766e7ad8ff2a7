"""``python -m api``: the HTTP facade as a process.

Exit status: 0 after SIGTERM or Ctrl-C, 1 if it cannot listen, 2 for a setting to be mended.
"""

import asyncio
import os
import signal
import sys
from types import FrameType

import structlog
import uvicorn

from api.app import create_app
from api.orchestrator import TemporalOrchestrator
from rap import telemetry
from rap.errors import ConfigurationError
from rap.records import Records
from rap.records.migrations import upgrade_when_up
from rap.settings import ApiSettings, RecordsSettings, load
from rap.temporal import connect

log = structlog.get_logger()

IDENTITY = "rap-api"


async def _serve(settings: ApiSettings, url: str) -> None:
    await upgrade_when_up(url, on_wait=log.warning)
    records = Records.connect(url)
    orchestrator = TemporalOrchestrator(
        lambda: connect(identity=IDENTITY), within=settings.rap_api_timeout
    )
    app = create_app(settings, records, orchestrator)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host=settings.rap_api_host,
            port=settings.rap_api_port,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=int(settings.rap_api_timeout) + 5,
        )
    )
    try:
        await server.serve()
    finally:
        records.close()


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def main() -> None:
    """Run the process."""
    # Before it serves, a signal ends the process; while it serves, requests are finished first.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    try:
        settings = load(ApiSettings)
        telemetry.configure(settings.loglevel)
        asyncio.run(_serve(settings, load(RecordsSettings).url))
        code = 0
    except ConfigurationError as error:
        print(error, file=sys.stderr)  # noqa: T201
        code = 2
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    sys.stdout.flush()
    sys.stderr.flush()
    # The SDK's threads may abort the interpreter's own way out; that must not become our code.
    os._exit(code)


if __name__ == "__main__":
    main()
