"""``python -m worker_agent``: the agent as a process.

Exit status: 0 after SIGTERM or Ctrl-C, 2 for a setting to be mended.
"""

import asyncio
import os
import signal
import sys
from typing import NoReturn

import structlog

from rap.errors import ConfigurationError
from rap.settings import AgentSettings, load
from rap.telemetry import export, logs
from worker_agent.preflight import check_settings

log = structlog.get_logger()


async def _run(settings: AgentSettings) -> None:
    # Loaded late: the libraries below take seconds, and some check the environment in their own
    # words while they load.
    from worker_agent.worker import run

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    traces = export.start(export.Service.AGENT, version=settings.version)
    await run(settings, stop)
    log.info("agent.service stopped")
    export.stop(traces)
    # Here, because the loop's own end would wait for threads that may hang.
    leave(0)


def leave(code: int, sentence: str = "") -> NoReturn:
    """End the process at once, since the SDK's threads may abort the interpreter's own way out."""
    if sentence:
        print(sentence, file=sys.stderr)  # noqa: T201
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Run the agent."""
    try:
        settings = load(AgentSettings)
        logs.configure(settings.loglevel, debug_file=settings.debug_log_file)
        check_settings(settings)
        asyncio.run(_run(settings))
    except ConfigurationError as error:
        leave(2, str(error))
    except BaseException:
        log.exception("the agent ends")
        leave(1)


if __name__ == "__main__":
    main()
